"""`RemoteEngine`: the next-token distribution, scores and tokens of a model that an engine elsewhere serves.

Every request returns a `Pending` at once; many may be on their way, and the engine batches them.
"""

from collections.abc import Sequence

from core.errors import UserError
from core.formats.text import shown
from core.language import N_, _
from core.remote.address import Address
from core.remote.ahead import GoAhead
from core.remote.client import Client, Limits, together
from core.remote.engines.api import Ahead, EngineApi
from core.remote.pending import Pending
from core.remote.probe import probe
from core.remote.values import BadAnswer, Capabilities, Known, Scored
from core.remote.vocabulary import Vocabulary

NEEDED = N_("a walk needs vLLM, llama-server or SGLang")
SCORED_FIRST = 50
"""Tokens asked for where one token is to be scored; most are among them."""


class RemoteEngine:
    """One model on one server. Opens no connection before the first request.

    `engine` is vllm, llama, sglang, openai or auto; `served_model` is needed where a server has several models.
    Errors arise in `Pending.result`, as `UserError`s of one line.
    """

    def __init__(
        self, address: Address, engine: str = "auto", served_model: str = "", limits: Limits | None = None
    ) -> None:
        self.address = address
        self._client = Client(address, limits)
        self._wanted, self._served = engine, served_model
        self._api: EngineApi | None = None
        self._capabilities: Capabilities | None = None
        self._vocabulary: Vocabulary | None = None
        self._ahead: GoAhead | None = None
        self._serving: str | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the probe found out. Raises `RuntimeError` before `probe` is done."""
        if self._capabilities is None:
            raise RuntimeError("the engine is not probed yet")
        return self._capabilities

    @property
    def always_special(self) -> bool:
        """Whether the engine reads special tokens in every text as such."""
        return self._ready()[0].always_special

    def probe(self) -> Pending[Capabilities]:
        """Find out which engine this is and what it can do; everything else needs it. Some ten short requests."""
        return self._client.submit(self._probe())

    async def _probe(self) -> Capabilities:
        self._api, self._capabilities = await probe(self._client, self._wanted, self._served)
        self._vocabulary = Vocabulary(self._client, self._api, self._capabilities.vocab_size or 1)
        self._ahead = GoAhead(self._client, self._api, self._capabilities.context, self._read_ahead)
        self._serving = None
        if self._capabilities.parallel is not None:
            self._client.narrow(self._capabilities.parallel)
        return self._capabilities

    def next(self, ids: Sequence[int], k: int | None = None) -> Pending[Known]:
        """The `k` likeliest next tokens after `ids` [n], n ≥ 1; as many as one answer can give where `k` is None.

        Fewer than `k` come where `capabilities.top_k` or V is less.
        """
        return self._client.submit(self._next(list(ids), k))

    async def _next(self, ids: Sequence[int], k: int | None) -> Known:
        api, vocabulary = self._ready()
        if not self.capabilities.ids:
            raise UserError(
                _("{address} ({name}) gives text only, no token ids; {advice}"),
                address=self.address,
                name=api.name,
                advice=_(NEEDED),
            )
        count = self.largest(k)
        ahead = self._ahead
        assert ahead
        if (said := await ahead.next(ids, count, vocabulary.size)) is None:
            request = api.next_request(ids, count, vocabulary.size)
            said = await self._client.ask(request, lambda answer: self._read(answer, count, len(ids)))
        ahead.answered(ids, said)
        return said

    def _read_ahead(self, event: bytes, count: int) -> list[Ahead]:
        """What an event of a stream says."""
        api, vocabulary = self._ready()
        if said := api.read_ahead(event, count, vocabulary.size):
            vocabulary.learn(event, count)
        return said

    def _read(self, answer: bytes, count: int, length: int) -> Known:
        """What an answer to `length` ids says, where it is of this model and of these ids."""
        api, vocabulary = self._ready()
        said = api.read_next(answer, count, vocabulary.size)
        if self._serving is None:
            self._serving = said.model
        if said.model != self._serving:
            raise BadAnswer(
                _("the engine serves {name} now, but served {before} before; start again").format(
                    name=_name(said.model), before=_name(self._serving)
                )
            )
        if said.prompt not in (None, length):
            raise BadAnswer(
                _("the engine read {prompt} tokens, but {length} were sent").format(prompt=said.prompt, length=length)
            )
        vocabulary.learn(answer, count)
        return said.known

    def largest(self, k: int | None = None) -> int:
        """How many tokens `next` gives where `k` are asked for."""
        capabilities = self.capabilities
        top = capabilities.vocab_size or 1
        if not capabilities.full and capabilities.top_k is not None:
            top = min(top, capabilities.top_k)
        return top if k is None else max(1, min(k, top))

    def score(self, ids: Sequence[int], start: int = 1) -> Pending[tuple[Scored, ...]]:
        """How likely each of `ids[start:]` was after those before it, 1 ≤ start ≤ n.

        One request where the engine scores prompts, else one for each token, at the same time.
        """
        if not 1 <= start <= len(ids):
            raise ValueError(f"start is {start}; allowed: 1 to {len(ids)}")
        return self._client.submit(self._score(list(ids), start))

    async def _score(self, ids: Sequence[int], start: int) -> tuple[Scored, ...]:
        api, _unused = self._ready()
        request = api.score_request(ids) if self.capabilities.prompt_scores else None
        if request is not None:
            return await self._client.ask(request, lambda answer: api.read_scores(answer, ids, start))
        return tuple(await together(self._score_one(ids[:at], ids[at]) for at in range(start, len(ids))))

    async def _score_one(self, prefix: Sequence[int], id: int) -> Scored:
        """By the likeliest tokens; by as many as there can be where it is not among them."""
        for k in (SCORED_FIRST, None):
            said = await self._next(prefix, k)
            scored = said.score(id)
            if scored.logprob is not None or len(said.ids) >= self.largest():
                break
        return scored

    def tokenize(self, text: str, *, special: bool = False, ends: bool = False) -> Pending[list[int]]:
        """The ids of `text`.

        With `special`, special tokens in it are one token each; vLLM and SGLang read them so in any case. With `ends`,
        tokens that stand before and after every text, such as BOS, are there.
        """
        return self._client.submit(self._ready()[1].tokenize(text, special=special, ends=ends))

    def detokenize(self, ids: Sequence[int]) -> Pending[str]:
        """The text of `ids` by the engine; bytes that are not UTF-8 are U+FFFD in it."""
        return self._client.submit(self._ready()[1].detokenize(list(ids)))

    def pieces(self, ids: Sequence[int]) -> Pending[dict[int, bytes]]:
        """The bytes of `ids`, which are asked for once and kept; an id whose bytes cannot be found out is absent."""
        return self._client.submit(self._ready()[1].load(list(ids)))

    def piece(self, id: int) -> bytes | None:
        """The bytes of an id where they are known by now; asks for nothing."""
        return self._ready()[1].known.get(id)

    def close(self) -> None:
        """Cancel what is on its way and close the connections."""
        self._client.close()

    def _ready(self) -> tuple[EngineApi, Vocabulary]:
        if self._api is None or self._vocabulary is None:
            raise RuntimeError("the engine is not probed yet")
        return self._api, self._vocabulary


def _name(model: str | None) -> str:
    return "a model without a name" if model is None else shown(model)

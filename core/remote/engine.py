"""`RemoteEngine`: the next-token distribution, scores and tokens of a model that an engine elsewhere serves.

Every request returns a `Pending` at once; many may be on their way, and the engine batches them.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from core.errors import UserError
from core.remote.address import Address
from core.remote.client import Client, Limits, together
from core.remote.engines.api import EngineApi, Request
from core.remote.pending import Pending
from core.remote.probe import probe
from core.remote.values import Capabilities, Known, Scored

T = TypeVar("T")

NEEDED = "a walk needs vLLM, llama-server or SGLang"
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

    @property
    def capabilities(self) -> Capabilities:
        """What the probe found out. Raises `RuntimeError` before `probe` is done."""
        if self._capabilities is None:
            raise RuntimeError("the engine is not probed yet")
        return self._capabilities

    def probe(self) -> Pending[Capabilities]:
        """Find out which engine this is and what it can do; everything else needs it. Some ten short requests."""
        return self._client.submit(self._probe())

    async def _probe(self) -> Capabilities:
        self._api, self._capabilities = await probe(self._client, self._wanted, self._served)
        return self._capabilities

    def next(self, ids: Sequence[int], k: int | None = None) -> Pending[Known]:
        """The `k` likeliest next tokens after `ids` [n], n ≥ 1; as many as one answer can give where `k` is None.

        Fewer than `k` come where `capabilities.top_k` or V is less.
        """
        return self._client.submit(self._next(list(ids), k))

    async def _next(self, ids: Sequence[int], k: int | None) -> Known:
        api, vocab_size = self._ready()
        if not self.capabilities.ids:
            raise UserError(f"{self.address} ({api.name}) gives text only, no token ids; {NEEDED}")
        count = self.largest(k)
        request = api.next_request(ids, count, vocab_size)
        return await self._ask(request, lambda answer: api.read_next(answer, count, vocab_size))

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
        api, _ = self._ready()
        request = api.score_request(ids) if self.capabilities.prompt_scores else None
        if request is not None:
            return await self._ask(request, lambda answer: api.read_scores(answer, ids, start))
        return tuple(await together(self._score_one(ids[:at], ids[at]) for at in range(start, len(ids))))

    async def _score_one(self, prefix: Sequence[int], id: int) -> Scored:
        """By the likeliest tokens; by as many as there can be where it is not among them."""
        for k in (SCORED_FIRST, None):
            said = await self._next(prefix, k)
            scored = said.score(id)
            if scored.logprob is not None or len(said.ids) >= self.largest():
                break
        return scored

    def tokenize(self, text: str, *, special: bool = False) -> Pending[list[int]]:
        """The ids of `text`; with `special`, special tokens in it are one token each."""
        return self._client.submit(self._tokenize(text, special))

    async def _tokenize(self, text: str, special: bool) -> list[int]:
        api, _ = self._ready()
        ids, _ = await self._ask(api.tokenize_request(text, special), api.read_tokenize)
        return ids

    def detokenize(self, ids: Sequence[int]) -> Pending[str]:
        """The text of `ids` by the engine; bytes that are not UTF-8 are U+FFFD in it."""
        return self._client.submit(self._detokenize(list(ids)))

    async def _detokenize(self, ids: Sequence[int]) -> str:
        api, _ = self._ready()
        return await self._ask(api.detokenize_request(ids), api.read_detokenize)

    def close(self) -> None:
        """Cancel what is on its way and close the connections."""
        self._client.close()

    def _ready(self) -> tuple[EngineApi, int]:
        if self._api is None:
            raise RuntimeError("the engine is not probed yet")
        return self._api, self.capabilities.vocab_size or 1

    async def _ask(self, request: Request, read: Callable[[bytes], T]) -> T:
        return await self._client.ask(request, read)

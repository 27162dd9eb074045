"""vLLM: `POST /v1/completions` with token ids, and the endpoints of its own."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.language import N_, _
from core.remote.engines.api import Ahead, Ask, EngineApi, Request
from core.remote.engines.decoding import read
from core.remote.engines.listing import Served
from core.remote.faults import Refused, readable
from core.remote.pieces import spelled
from core.remote.values import BadAnswer, Capabilities, NextAnswer, Scored, checked_logprob, known

NEUTRAL = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "min_tokens": 0,
    "n": 1,
    "stream": False,
}
KEY = b'"token_id:'
"""What stands before an id where `return_tokens_as_token_ids` is asked for."""

IMPOSSIBLE = 10**9
"""More than any vocabulary has."""
DEFAULT_MOST = 20
"""Of `--max-logprobs`."""
_VOCABULARY = re.compile(r"[Vv]ocabulary size: (\d{1,9})\b")
_MOST = re.compile(r"max allowed: (\d{1,9})\b")


class Version(msgspec.Struct):
    """The answer of `/version`."""

    version: str


class Logprobs(msgspec.Struct):
    """The likeliest tokens at each position, as they stand in the answer: objects of log-probabilities by token."""

    top_logprobs: list[msgspec.Raw]
    tokens: list[str] = []


class Choice(msgspec.Struct):
    """One continuation."""

    logprobs: Logprobs


class Usage(msgspec.Struct):
    """Counts of tokens."""

    prompt_tokens: int | None = None


class Completion(msgspec.Struct):
    """An answer."""

    choices: list[Choice]
    model: str | None = None
    usage: Usage | None = None


class Part(msgspec.Struct):
    """A part of a stream; the last has no log-probabilities."""

    logprobs: Logprobs | None = None


class Event(msgspec.Struct):
    """An event of a stream."""

    choices: list[Part]


class PromptToken(msgspec.Struct):
    """A token of the prompt; ranks count from 1."""

    logprob: float
    rank: int


class ScoredChoice(msgspec.Struct):
    """One continuation, read for its prompt. The first token has no row."""

    prompt_logprobs: list[dict[str, PromptToken] | None]


class ScoredCompletion(msgspec.Struct):
    """An answer, read for its prompt."""

    choices: list[ScoredChoice]


class Tokenized(msgspec.Struct):
    """The answer of `/tokenize`; `token_strs` are written as the files of the model write them."""

    tokens: list[int]
    token_strs: list[str] | None = None


class Detokenized(msgspec.Struct):
    """The answer of `/detokenize`."""

    prompt: str


VERSION = msgspec.json.Decoder(Version)
NUMBERS = msgspec.json.Decoder(list[float])
COMPLETION = msgspec.json.Decoder(Completion)
EVENT = msgspec.json.Decoder(Event)
SCORED = msgspec.json.Decoder(ScoredCompletion)
TOKENIZED = msgspec.json.Decoder(Tokenized)
DETOKENIZED = msgspec.json.Decoder(Detokenized)


class VLLM(EngineApi):
    """vLLM. k is limited by `--max-logprobs` of the server (20 where it is not given)."""

    name = "vllm"
    advice = N_("start vLLM with --logprobs-mode raw_logprobs, because other modes may give logits")
    always_special = True

    async def describe(self, ask: Ask, listed: Served) -> Capabilities:
        version = await ask(Request("/version"), lambda answer: read(VERSION, answer).version)
        vocab_size = await self._limit(ask, _VOCABULARY, logit_bias={str(IMPOSSIBLE): 1})
        most = await self._limit(ask, _MOST, logprobs=IMPOSSIBLE)
        if vocab_size is None:
            raise UserError(
                _("vLLM {version} does not give the size of its vocabulary, which a walk needs; update vLLM"),
                version=readable(version),
            )
        full = most is not None and most >= vocab_size
        return Capabilities(
            engine=self.name,
            version=version,
            model=self.model,
            vocab_size=vocab_size,
            context=listed.max_model_len,
            top_k=None if full else most or DEFAULT_MOST,
            full=full,
            raw=True,
            ids=True,
            bytes=False,
            prompt_scores=True,
            source=listed.root or "",
        )

    async def _limit(self, ask: Ask, pattern: re.Pattern[str], **fields: Any) -> int | None:
        """The limit that vLLM names where it refuses a request that no server can fulfill; nothing is computed."""
        try:
            await ask(self._completion([0], **fields), bytes)
        except Refused as refused:
            if refused.status == 400 and (found := pattern.search(refused.words)):
                return int(found[1])
            if refused.status != 400:
                raise
        return None

    def _completion(self, ids: Sequence[int], **fields: Any) -> Request:
        return Request(
            "/v1/completions", NEUTRAL | {"model": self.model, "prompt": list(ids), "max_tokens": 1} | fields
        )

    def next_request(self, ids: Sequence[int], k: int, vocab_size: int, temperature: float = 1.0) -> Request:
        count = -1 if k >= vocab_size else k
        return self._completion(ids, logprobs=count, return_tokens_as_token_ids=True, temperature=temperature)

    def read_next(self, answer: bytes, k: int, vocab_size: int) -> NextAnswer:
        completion = read(COMPLETION, answer)
        choices = completion.choices
        if not choices or not choices[0].logprobs.top_logprobs:
            raise BadAnswer(_("it has no log-probabilities"))
        ids, values = _candidates(bytes(choices[0].logprobs.top_logprobs[0]))
        usage = completion.usage
        return NextAnswer(known(ids, values, vocab_size, k), completion.model, usage.prompt_tokens if usage else None)

    def ahead_request(self, ids: Sequence[int], k: int, vocab_size: int, tokens: int) -> Request:
        body = self.next_request(ids, k, vocab_size, temperature=0.0).body or {}
        return Request("/v1/completions", body | {"max_tokens": tokens, "stream": True})

    def read_ahead(self, event: bytes, k: int, vocab_size: int) -> list[Ahead]:
        if event == b"[DONE]" or not (choices := read(EVENT, event).choices) or not (said := choices[0].logprobs):
            return []
        return [
            Ahead(known(*_candidates(bytes(top)), vocab_size, k), _id(token))
            for top, token in zip(said.top_logprobs, said.tokens, strict=False)
        ]

    def score_request(self, ids: Sequence[int]) -> Request:
        return self._completion(ids, prompt_logprobs=0)

    def read_scores(self, answer: bytes, ids: Sequence[int], start: int) -> tuple[Scored, ...]:
        choices = read(SCORED, answer).choices
        rows = choices[0].prompt_logprobs if choices else []
        if len(rows) != len(ids):
            raise BadAnswer(_("it scores {count} tokens, but {sent} were sent").format(count=len(rows), sent=len(ids)))
        return tuple(_scored(id, row) for id, row in zip(ids[start:], rows[start:], strict=True))

    def tokenize_request(self, text: str, *, special: bool = False, ends: bool = False) -> Request:
        body = {"model": self.model, "prompt": text, "add_special_tokens": ends, "return_token_strs": True}
        return Request("/tokenize", body)

    def read_tokenize(self, answer: bytes, text: str) -> tuple[list[int], dict[int, bytes]]:
        tokenized = read(TOKENIZED, answer)
        return tokenized.tokens, spelled(text, tokenized.tokens, tokenized.token_strs or [])

    def detokenize_request(self, ids: Sequence[int]) -> Request:
        return Request("/detokenize", {"model": self.model, "tokens": list(ids)})

    def read_detokenize(self, answer: bytes) -> str:
        return read(DETOKENIZED, answer).prompt


def _candidates(top: bytes) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The ids and the log-probabilities of a JSON object such as `{"token_id:957": -1.56}`.

    The names are rewritten to numbers, so that one list of numbers is decoded: half the time of an object of 49,152
    names.
    """
    count = top.count(KEY)
    numbers = read(NUMBERS, b"[%b]" % top.strip()[1:-1].replace(KEY, b"").replace(b'":', b","))
    pairs = np.fromiter(numbers, np.float64, len(numbers))
    if len(pairs) != 2 * count or not (pairs[::2] == np.rint(pairs[::2])).all() or (np.abs(pairs[::2]) > 2**53).any():
        raise BadAnswer(_("it names tokens by text, not by id, as vLLM before 0.5 does"))
    return pairs[::2].astype(np.int64), pairs[1::2]


def _id(token: str) -> int:
    """The id in `token_id:957`."""
    id = token.removeprefix("token_id:")
    if not id.isdecimal():
        raise BadAnswer(_("it names a token by text, not by id"))
    return int(id)


def _scored(id: int, row: dict[str, PromptToken] | None) -> Scored:
    entry = row.get(str(id)) if row else None
    if entry is None:
        raise BadAnswer(_("it has no log-probability for the token id {id} of the prompt").format(id=id))
    if entry.rank < 1:
        raise BadAnswer(_("it has the rank {rank}, but ranks count from 1").format(rank=entry.rank))
    return Scored(id, checked_logprob(entry.logprob), entry.rank - 1, entry.rank)

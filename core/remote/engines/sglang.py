"""SGLang: `POST /generate`. Written from its documentation and source; no server of it was at hand to try it on."""

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import msgspec

from core.errors import UserError
from core.language import _
from core.remote.engines.api import Ask, EngineApi, Request
from core.remote.engines.decoding import read
from core.remote.engines.listing import Served
from core.remote.faults import Refused
from core.remote.values import BadAnswer, Capabilities, NextAnswer, Scored, checked_logprob, known

NEUTRAL = {
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "repetition_penalty": 1.0,
    "min_new_tokens": 0,
    "n": 1,
}

IMPOSSIBLE = 10**9
"""More than any vocabulary has."""
COUNTS = (1000, 100, 20, 5, 1)
_VOCABULARY = re.compile(r"vocab size \((\d{1,9})\)")


class Entry(msgspec.Struct, array_like=True, gc=False):
    """A log-probability, which the first token of a prompt has none of, the id, and the text where it is asked for."""

    logprob: float | None
    id: int
    text: str | None = None


class Info(msgspec.Struct):
    """The answer of `/get_model_info`."""

    model_path: str = ""


class Version(msgspec.Struct):
    """The answer of `/server_info`."""

    version: str = ""


class Meta(msgspec.Struct):
    """The likeliest tokens at each position."""

    output_top_logprobs: list[list[Entry] | None]
    prompt_tokens: int | None = None


class Generated(msgspec.Struct):
    """An answer."""

    meta_info: Meta


class PromptMeta(msgspec.Struct):
    """The tokens of the prompt."""

    input_token_logprobs: list[Entry]


class Scores(msgspec.Struct):
    """An answer, read for the tokens of the prompt."""

    meta_info: PromptMeta


class Tokens(msgspec.Struct):
    """The answer of `/tokenize`."""

    tokens: list[int]


class Text(msgspec.Struct):
    """The answer of `/detokenize`."""

    text: str


INFO = msgspec.json.Decoder(Info)
VERSION = msgspec.json.Decoder(Version)
GENERATED = msgspec.json.Decoder(Generated)
SCORES = msgspec.json.Decoder(Scores)
TOKENS = msgspec.json.Decoder(Tokens)
TEXT = msgspec.json.Decoder(Text)


class SGLang(EngineApi):
    """SGLang. Its log-probabilities are those after temperature, so every request says temperature 1, never 0."""

    name = "sglang"
    always_special = True

    async def describe(self, ask: Ask, listed: Served) -> Capabilities:
        info = await ask(Request("/get_model_info"), lambda answer: read(INFO, answer))
        version = await self._version(ask)
        vocab_size = await self._vocabulary(ask)
        most = await self._most(ask, vocab_size)
        return Capabilities(
            engine=self.name,
            version=version,
            model=self.model,
            vocab_size=vocab_size,
            context=listed.max_model_len,
            top_k=None if most == vocab_size else most,
            full=most == vocab_size,
            raw=False,
            ids=True,
            bytes=False,
            prompt_scores=True,
            source=info.model_path,
        )

    async def _version(self, ask: Ask) -> str:
        """Two paths tell it, the older one last. Everything else they tell, such as the server's key, is skipped."""
        for path in ("/server_info", "/get_server_info"):
            with suppress(Refused):
                return await ask(Request(path), lambda answer: read(VERSION, answer).version)
        return ""

    async def _vocabulary(self, ask: Ask) -> int:
        """V, which SGLang names where it refuses an id that no vocabulary has."""
        try:
            await ask(self.next_request([IMPOSSIBLE], 1, 1), bytes)
        except Refused as refused:
            if found := _VOCABULARY.search(refused.words):
                return int(found[1])
        raise UserError(_("SGLang does not give the size of its vocabulary, which a walk needs; update SGLang"))

    async def _most(self, ask: Ask, vocab_size: int) -> int:
        """The most candidates that one answer gives; V where it gives all."""
        for count in (vocab_size, *COUNTS):
            with suppress(Refused):
                request = self.next_request([0], count, vocab_size)
                return len((await ask(request, partial(self.read_next, k=count, vocab_size=vocab_size))).known.ids)
        raise UserError(_("SGLang refuses to give log-probabilities; check its log and its options"))

    def next_request(self, ids: Sequence[int], k: int, vocab_size: int, temperature: float = 1.0) -> Request:
        sampling = NEUTRAL | {"max_new_tokens": 1, "temperature": temperature}
        return Request(
            "/generate",
            {"input_ids": list(ids), "sampling_params": sampling, "return_logprob": True, "top_logprobs_num": k},
        )

    def read_next(self, answer: bytes, k: int, vocab_size: int) -> NextAnswer:
        meta = read(GENERATED, answer).meta_info
        rows = meta.output_top_logprobs
        entries = (rows[0] if rows else None) or []
        likeliest = known([entry.id for entry in entries], [_number(entry) for entry in entries], vocab_size, k)
        return NextAnswer(likeliest, prompt=meta.prompt_tokens)

    def score_request(self, ids: Sequence[int]) -> Request:
        sampling = NEUTRAL | {"max_new_tokens": 1, "temperature": 1.0}
        body = {"input_ids": list(ids), "sampling_params": sampling, "return_logprob": True}
        return Request("/generate", body | {"logprob_start_len": 0})

    def read_scores(self, answer: bytes, ids: Sequence[int], start: int) -> tuple[Scored, ...]:
        entries = read(SCORES, answer).meta_info.input_token_logprobs
        if [entry.id for entry in entries] != list(ids):
            raise BadAnswer(_("the tokens that it scores are not those of the prompt"))
        return tuple(Scored(entry.id, checked_logprob(_number(entry)), None, 0) for entry in entries[start:])

    def tokenize_request(self, text: str, *, special: bool = False, ends: bool = False) -> Request:
        return Request("/tokenize", {"prompt": text, "add_special_tokens": ends})

    def read_tokenize(self, answer: bytes, text: str) -> tuple[list[int], dict[int, bytes]]:
        return read(TOKENS, answer).tokens, {}

    def detokenize_request(self, ids: Sequence[int]) -> Request:
        return Request("/detokenize", {"tokens": list(ids), "skip_special_tokens": False})

    def read_detokenize(self, answer: bytes) -> str:
        return read(TEXT, answer).text


def _number(entry: Entry) -> float:
    if entry.logprob is None:
        raise BadAnswer(_("it has no log-probability for the token id {id}").format(id=entry.id))
    return entry.logprob

"""SGLang: `POST /generate`. Written from its documentation and source; no server of it was at hand to try it on."""

from collections.abc import Sequence

import msgspec

from core.remote.engines.api import EngineApi, Request
from core.remote.engines.decoding import read
from core.remote.values import BadAnswer, Known, Scored, checked_logprob, known

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

Entry = tuple[float | None, int, str | None]
"""A log-probability, the id of its token, and the text of it, which is absent unless asked for."""


class Meta(msgspec.Struct):
    """The likeliest tokens at each position."""

    output_top_logprobs: list[list[Entry] | None]


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


GENERATED = msgspec.json.Decoder(Generated)
SCORES = msgspec.json.Decoder(Scores)
TOKENS = msgspec.json.Decoder(Tokens)
TEXT = msgspec.json.Decoder(Text)


class SGLang(EngineApi):
    """SGLang. Its log-probabilities are those after temperature, so every request says temperature 1, never 0."""

    name = "sglang"

    def next_request(self, ids: Sequence[int], k: int, vocab_size: int, temperature: float = 1.0) -> Request:
        sampling = NEUTRAL | {"max_new_tokens": 1, "temperature": temperature}
        return Request(
            "/generate",
            {"input_ids": list(ids), "sampling_params": sampling, "return_logprob": True, "top_logprobs_num": k},
        )

    def read_next(self, answer: bytes, k: int, vocab_size: int) -> Known:
        rows = read(GENERATED, answer).meta_info.output_top_logprobs
        entries = (rows[0] if rows else None) or []
        return known([entry[1] for entry in entries], [_number(entry) for entry in entries], vocab_size, k)

    def score_request(self, ids: Sequence[int]) -> Request:
        sampling = NEUTRAL | {"max_new_tokens": 1, "temperature": 1.0}
        body = {"input_ids": list(ids), "sampling_params": sampling, "return_logprob": True}
        return Request("/generate", body | {"logprob_start_len": 0})

    def read_scores(self, answer: bytes, ids: Sequence[int], start: int) -> tuple[Scored, ...]:
        entries = read(SCORES, answer).meta_info.input_token_logprobs
        if [entry[1] for entry in entries] != list(ids):
            raise BadAnswer("the tokens that it scores are not those of the prompt")
        return tuple(Scored(entry[1], checked_logprob(_number(entry)), None, 0) for entry in entries[start:])

    def tokenize_request(self, text: str, special: bool) -> Request:
        return Request("/tokenize", {"prompt": text, "add_special_tokens": False})

    def read_tokenize(self, answer: bytes) -> tuple[list[int], dict[int, bytes]]:
        return read(TOKENS, answer).tokens, {}

    def detokenize_request(self, ids: Sequence[int]) -> Request:
        return Request("/detokenize", {"tokens": list(ids), "skip_special_tokens": False})

    def read_detokenize(self, answer: bytes) -> str:
        return read(TEXT, answer).text


def _number(entry: Entry) -> float:
    if entry[0] is None:
        raise BadAnswer(f"it has no log-probability for the token id {entry[1]}")
    return entry[0]

"""llama-server of llama.cpp: `POST /completion` with `n_probs`."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.language import N_, _
from core.remote.engines.api import Ahead, Ask, EngineApi, Request
from core.remote.engines.decoding import read
from core.remote.engines.listing import Meta, Served
from core.remote.values import BadAnswer, Capabilities, NextAnswer, known

NEUTRAL = {
    "temperature": 1.0,
    "dynatemp_range": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "top_n_sigma": -1.0,
    "xtc_probability": 0.0,
    "dry_multiplier": 0.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "mirostat": 0,
    "ignore_eos": False,
    "grammar": "",
    "stop": [],
    # decides what the server draws for itself, of which nothing is used: where it drew a part of a character, it tells
    # no probabilities at all. Those that it tells are of the logits without the bias.
    "logit_bias": [["a", 1000.0]],
    "post_sampling_probs": False,
}

LARGEST_VOCABULARY = 10_000_000


class Token(msgspec.Struct, gc=False):
    """One candidate. A server before December 2024 writes no id."""

    id: int
    logprob: float | None = None
    prob: float | None = None


class Position(msgspec.Struct):
    """The candidates at one position; `top_probs` where they are probabilities."""

    top_logprobs: list[Token] | None = None
    top_probs: list[Token] | None = None
    probs: list[Token] | None = None


class Completion(msgspec.Struct):
    """An answer; some versions call the positions `probs`."""

    completion_probabilities: list[Position] | None = None
    probs: list[Position] | None = None
    model: str | None = None
    tokens_evaluated: int | None = None


class Event(Completion):
    """A part of a stream: the token that was drawn, and how many were drawn by then."""

    tokens: list[int] = []
    tokens_predicted: int | None = None


class SpelledToken(msgspec.Struct):
    """A candidate with its bytes; special tokens have none."""

    id: int
    bytes: list[int] = []


class SpelledPosition(msgspec.Struct):
    """The candidates at one position."""

    top_logprobs: list[SpelledToken] = []


class SpelledCompletion(msgspec.Struct):
    """An answer, read for the bytes of tokens."""

    completion_probabilities: list[SpelledPosition] = []


class Piece(msgspec.Struct):
    """A token of a text; a list of bytes where it is not UTF-8."""

    id: int
    piece: str | list[int]


class Pieces(msgspec.Struct):
    """The answer of `/tokenize`."""

    tokens: list[Piece]


class Content(msgspec.Struct):
    """The answer of `/detokenize`."""

    content: str


class Settings(msgspec.Struct):
    """The defaults of a server."""

    n_ctx: int | None = None


class Props(msgspec.Struct):
    """What `GET /props` tells."""

    default_generation_settings: Settings = msgspec.field(default_factory=Settings)
    build_info: str = ""
    model_path: str = ""
    chat_template: str = ""
    bos_token: str = ""
    eos_token: str = ""
    total_slots: int | None = None


PROPS = msgspec.json.Decoder(Props)
COMPLETION = msgspec.json.Decoder(Completion)
EVENT = msgspec.json.Decoder(Event)
SPELLED = msgspec.json.Decoder(SpelledCompletion)
PIECES = msgspec.json.Decoder(Pieces)
CONTENT = msgspec.json.Decoder(Content)


class Llama(EngineApi):
    """llama-server. Any k up to V, and the bytes of tokens; no scores of a prompt."""

    name = "llama"
    advice = N_("start llama-server without a draft model, because with one some versions give zeros")

    async def describe(self, ask: Ask, listed: Served) -> Capabilities:
        props = await ask(Request("/props"), lambda answer: read(PROPS, answer))
        settings = props.default_generation_settings
        stops: list[int] = []
        if props.eos_token:
            request = self.tokenize_request(props.eos_token, special=True)
            stops, _unused = await ask(request, lambda answer: self.read_tokenize(answer, props.eos_token))
        meta = listed.meta or Meta()
        return Capabilities(
            engine=self.name,
            version=props.build_info,
            model=self.model,
            vocab_size=meta.n_vocab or await self._count(ask),
            context=settings.n_ctx or meta.n_ctx,
            top_k=None,
            full=True,
            raw=True,
            ids=True,
            bytes=True,
            prompt_scores=False,
            stops=tuple(stops) if len(stops) == 1 else (),
            template=props.chat_template,
            template_tokens=(("bos_token", props.bos_token), ("eos_token", props.eos_token)),
            parallel=props.total_slots,
            source=props.model_path,
        )

    async def _count(self, ask: Ask) -> int:
        """V, by asking for more candidates than any vocabulary has: older servers do not tell it."""
        request = self.next_request([0], LARGEST_VOCABULARY, LARGEST_VOCABULARY)
        return await ask(request, lambda answer: len(_candidates(read(COMPLETION, answer))[0]))

    def next_request(self, ids: Sequence[int], k: int, vocab_size: int, temperature: float = 1.0) -> Request:
        body = NEUTRAL | {"prompt": list(ids), "n_predict": 1, "n_probs": k, "cache_prompt": True, "stream": False}
        return Request("/completion", body | {"temperature": temperature, "model": self.model})

    def read_next(self, answer: bytes, k: int, vocab_size: int) -> NextAnswer:
        completion = read(COMPLETION, answer)
        ids, values = _candidates(completion)
        likeliest = known(ids, values, vocab_size, k)
        return NextAnswer(likeliest, completion.model or None, completion.tokens_evaluated)

    def ahead_request(self, ids: Sequence[int], k: int, vocab_size: int, tokens: int) -> Request:
        body = self.next_request(ids, k, vocab_size, temperature=0.0).body or {}
        changes = {"n_predict": tokens, "stream": True, "return_tokens": True, "logit_bias": []}
        return Request("/completion", body | changes)

    def read_ahead(self, event: bytes, k: int, vocab_size: int) -> list[Ahead]:
        said = read(EVENT, event)
        if len(said.tokens) != 1 or not said.completion_probabilities:
            return []
        return [Ahead(known(*_candidates(said), vocab_size, k), said.tokens[0], said.tokens_predicted or 0)]

    def read_pieces(self, answer: bytes) -> dict[int, bytes]:
        positions = read(SPELLED, answer).completion_probabilities
        tokens = positions[0].top_logprobs if positions else []
        return {token.id: _bytes(token.bytes) for token in tokens if token.bytes}

    def tokenize_request(self, text: str, *, special: bool = False, ends: bool = False) -> Request:
        body = {"content": text, "with_pieces": True, "add_special": ends, "parse_special": special}
        return Request("/tokenize", body | {"model": self.model})

    def read_tokenize(self, answer: bytes, text: str) -> tuple[list[int], dict[int, bytes]]:
        tokens = read(PIECES, answer).tokens
        spelled = {
            token.id: token.piece.encode() if isinstance(token.piece, str) else _bytes(token.piece) for token in tokens
        }
        return [token.id for token in tokens], {id: piece for id, piece in spelled.items() if piece}

    def detokenize_request(self, ids: Sequence[int]) -> Request:
        return Request("/detokenize", {"tokens": list(ids), "model": self.model})

    def read_detokenize(self, answer: bytes) -> str:
        return read(CONTENT, answer).content


def _candidates(completion: Completion) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The ids and the log-probabilities at the first position."""
    positions = completion.completion_probabilities or completion.probs
    if not positions:
        raise BadAnswer(_("it has no log-probabilities"))
    first = positions[0]
    tokens = first.top_logprobs or first.top_probs or first.probs or []
    values = [token.logprob for token in tokens]
    if None in values:
        values = [_logarithm(token.prob) for token in tokens]
    try:
        ids = np.fromiter([token.id for token in tokens], np.int64, len(tokens))
    except OverflowError as error:
        raise BadAnswer(_("it has a token id that is not a number of 64 bits")) from error
    return ids, np.fromiter(values, np.float64, len(tokens))


def _logarithm(probability: float | None) -> float:
    if probability is None or probability < 0:
        raise BadAnswer(_("a candidate has no log-probability"))
    return math.log(probability) if probability else -math.inf


def _bytes(values: list[int]) -> bytes:
    try:
        return bytes(values)
    except ValueError as error:
        raise BadAnswer(_("the bytes of a token are not numbers from 0 to 255")) from error

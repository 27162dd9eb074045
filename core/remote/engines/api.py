"""The interface of one engine: pure functions that make requests and read answers. Sends nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from core.language import N_
from core.remote.engines.listing import Served
from core.remote.values import Capabilities, Known, NextAnswer, Scored

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: the path below the engine's address, and the JSON body of a POST."""

    path: str
    body: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def method(self) -> Literal["GET", "POST"]:
        """POST where there is a body."""
        return "GET" if self.body is None else "POST"


@dataclass(frozen=True, slots=True, eq=False)
class Ahead:
    """One position of a stream: the distribution, and the token that the engine went on by."""

    known: Known
    token: int
    number: int | None = None
    """Which token of the stream it is, from 1; None where the engine does not say."""


class Ask(Protocol):
    """Sends a request and reads its answer. Raises `UserError`; `faults.Refused` for an HTTP status other than 200."""

    async def __call__(self, request: Request, read: Callable[[bytes], T], /) -> T: ...


class EngineApi:
    """What differs between engines. `model` is the name that the engine serves the model under.

    Every request for a distribution says neutral sampling: temperature 1, no cuts, no penalties. What a server or the
    model's generation_config sets as a default does not change the answer. Each `read_…` raises `BadAnswer`.
    """

    name: ClassVar[str]
    advice: ClassVar[str] = N_("check the engine's options")
    """The next step where log-probabilities cannot be used."""
    always_special: ClassVar[bool] = False
    """Whether special tokens in a text are read as such even where that is not asked for."""

    def __init__(self, model: str) -> None:
        self.model = model

    async def describe(self, ask: Ask, listed: Served) -> Capabilities:
        """What this engine alone tells of itself; `listed` is what it lists of the model."""
        raise NotImplementedError

    def next_request(self, ids: Sequence[int], k: int, vocab_size: int, temperature: float = 1.0) -> Request:
        """The request for the `k` likeliest next tokens after `ids` [n], n ≥ 1; all of them where k is V."""
        raise NotImplementedError

    def read_next(self, answer: bytes, k: int, vocab_size: int) -> NextAnswer:
        """What the answer to `next_request` says."""
        raise NotImplementedError

    def read_pieces(self, answer: bytes) -> dict[int, bytes]:
        """The bytes of tokens that the answer to `next_request` tells besides; empty where it tells none."""
        return {}

    def ahead_request(self, ids: Sequence[int], k: int, vocab_size: int, tokens: int) -> Request | None:
        """The request for a stream of `tokens` distributions, of the likeliest token after each; None without one."""
        return None

    def read_ahead(self, event: bytes, k: int, vocab_size: int) -> list[Ahead]:
        """What one event of the stream says; nothing where it only tells that the stream ends."""
        raise NotImplementedError

    def score_request(self, ids: Sequence[int]) -> Request | None:
        """The request for the log-probability of each of `ids`; None where the engine has no prompt scores."""
        return None

    def read_scores(self, answer: bytes, ids: Sequence[int], start: int) -> tuple[Scored, ...]:
        """What the answer to `score_request` says of `ids[start:]`."""
        raise NotImplementedError

    def tokenize_request(self, text: str, *, special: bool = False, ends: bool = False) -> Request:
        """The request for the ids of `text`.

        With `special`, special tokens in the text are one token each; with `ends`, tokens that the model puts before
        and after every text, such as BOS, are there.
        """
        raise NotImplementedError

    def read_tokenize(self, answer: bytes, text: str) -> tuple[list[int], dict[int, bytes]]:
        """The ids of `text`, and the exact bytes of those tokens whose bytes the answer tells."""
        raise NotImplementedError

    def detokenize_request(self, ids: Sequence[int]) -> Request:
        """The request for the text of `ids`."""
        raise NotImplementedError

    def read_detokenize(self, answer: bytes) -> str:
        """The text. Bytes that are not UTF-8 are U+FFFD in it."""
        raise NotImplementedError

"""What is sent of a shared walk, in MessagePack, and the frame that a viewer makes of it.

Whoever listens at an address may send anything, so every value has a type and limits here, and text is made harmless
where it is drawn.
"""

import math
from dataclasses import asdict, replace
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

from core.activations.patch import Patch
from core.errors import UserError
from core.formats.checked import CheckedValues
from core.generation.token import Origin, Token
from core.language import N_, _
from core.loading.info import ModelInfo
from core.progress import Progress
from core.sampling.bounds import Bounded, Bounds, between, high, low
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate, Chart, Score, StageEffect
from core.sequences import common_prefix
from core.sessions.patches import patch_values, read_patch
from core.sessions.reader import read_model
from core.tokenizers.chat import Span
from core.walk.values import Snapshot
from tui.drawing.text import one_line
from tui.runner import Activity, Frame
from tui.sharing.view import View

LARGEST = 64_000_000
"""Bytes of a message at most."""
NO_WALK = N_("what is sent there is not a walk of this version of tokenwalk ({reason})")

Count = Annotated[int, Meta(ge=0, lt=2**53)]
Share = Annotated[float, Meta(ge=0, le=1.001)]
Finite = Annotated[float, Meta(ge=-1e38, le=1e38)]
Number = float
"""May be infinite; NaN is refused later."""
Ends = tuple[int | Number, int | Number]
"""Of bounds. A union of a tuple and a number with a limit crashes msgspec 0.22, so limits are checked later."""
Word = Annotated[str, Meta(max_length=4_000)]
Text = Annotated[str, Meta(max_length=4_000_000)]
Values = Annotated[bytes, Meta(max_length=LARGEST)]
"""Encoded on their own."""
Piece = Annotated[bytes, Meta(max_length=100_000)]


class WireScore(Struct, array_like=True, frozen=True):
    """A `Score`."""

    logit: Number | Ends
    logprob: Number | Ends
    entropy_bits: Number | Ends
    rank: int | Number | Ends
    known: Count | None


class WireSpan(Struct, array_like=True, frozen=True):
    """A `Span`."""

    start: Count
    end: Count
    role: Word
    thinking: bool


class WireToken(Struct, array_like=True, frozen=True):
    """A `Token`, without the sampler and the model that drew it."""

    id: Count
    piece: Piece
    origin: Origin
    role: Word
    score: WireScore | None
    u: Share | None
    sampled_probability: Number | Ends | None
    redraw: Count


class WireCandidate(Struct, array_like=True, frozen=True):
    """A `Candidate`."""

    id: Count
    piece: Piece
    rank: Count
    logit: Number
    probability: Share
    sampled_probability: Number | Ends
    unpatched: Share | None
    true: Share | None
    known: bool


class WireEffect(Struct, array_like=True, frozen=True):
    """A `StageEffect`, with its stage in the written form."""

    stage: Text
    kept: int | Number | Ends
    removed: int | Number | Ends
    removed_mass: Number | Ends
    moved: Number | Ends


class WireChart(Struct, array_like=True, frozen=True):
    """A `Chart`."""

    candidates: Annotated[tuple[WireCandidate, ...], Meta(min_length=1, max_length=1000)]
    others_count: Count
    others_probability: Share
    others_sampled: Number | Ends
    entropy_bits: Number | Ends
    stages: Annotated[tuple[WireEffect, ...], Meta(max_length=100)]
    kept: int | Number | Ends
    problem: Word
    taken: WireCandidate | None
    divergence_bits: Number | None
    known: Count | None
    unknown_probability: Share
    from_logprobs: bool


class Shared(Struct, frozen=True, omit_defaults=True):
    """A walk and what is seen of it. Its first `kept` tokens are those of the message before."""

    kept: Count
    tokens: Annotated[tuple[WireToken, ...], Meta(max_length=10_000_000)]
    prompt: Text
    prompt_length: Count
    cursor: Count
    window: Count
    sampler: Text
    seed: Annotated[str, Meta(max_length=400)]
    stopped: Word = ""
    spans: Annotated[tuple[WireSpan, ...], Meta(max_length=1_000_000)] = ()
    chart: WireChart | None = None
    activity: Activity = "idle"
    progress: tuple[Count, Count] | None = None
    generated: Count = 0
    rate: Finite | None = None
    patches: Values = b""
    """The active patches, as a session file has them. They seldom change, nor does the model."""
    model: Values = b""
    view: View | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Shared).decode
_decode_values = msgspec.msgpack.Decoder().decode


# To the wire ---------------------------------------------------------------------------------------------------------


class Writer:
    """Makes the messages of one walk; what did not change is not made again."""

    def __init__(self) -> None:
        self._tokens: tuple[Token, ...] = ()
        self._wired: list[WireToken] = []
        self._settings: tuple[object, bytes, bytes] = None, b"", b""
        """The patches and the model of the last message, and both as they are sent."""

    def message(self, frame: Frame, view: View | None, before: tuple[Token, ...]) -> bytes:
        """The message for a frame with a walk, to a viewer who has the tokens `before`."""
        snapshot = frame.snapshot
        assert snapshot is not None
        kept = _same(before, snapshot.tokens)
        settings = snapshot.patches, frame.model
        if self._settings[0] != settings:
            patches = _encode([patch_values(patch) for patch in snapshot.patches]) if snapshot.patches else b""
            self._settings = settings, patches, _encode(asdict(frame.model)) if frame.model else b""
        spans = (WireSpan(span.start, span.end, span.role, span.thinking) for span in snapshot.spans)
        reading = frame.activity_progress
        return _encode(
            Shared(
                kept=kept,
                tokens=tuple(self._wire(snapshot.tokens)[kept:]),
                prompt=snapshot.prompt,
                prompt_length=snapshot.prompt_length,
                cursor=snapshot.cursor,
                window=snapshot.window,
                sampler=str(snapshot.sampler),
                seed=str(snapshot.sampler.seed),
                stopped=snapshot.stopped,
                spans=tuple(spans),
                patches=self._settings[1],
                model=self._settings[2],
                chart=_wire_chart(snapshot.chart) if snapshot.chart else None,
                activity=frame.activity,
                progress=(reading.done, reading.total) if reading else None,
                generated=frame.generated,
                rate=frame.rate,
                view=view,
            )
        )

    def _wire(self, tokens: tuple[Token, ...]) -> list[WireToken]:
        same = _same(self._tokens, tokens)
        if same != len(self._tokens) or same != len(tokens):
            self._wired[same:] = map(_wire_token, tokens[same:])
            self._tokens = tokens
        return self._wired


def _same(before: tuple[Token, ...], now: tuple[Token, ...]) -> int:
    """How many tokens at the beginning are the very same; fast where a walk only grew."""
    if len(before) <= len(now) and before == now[: len(before)]:
        return len(before)
    return common_prefix(before, now)


def _wire_token(token: Token) -> WireToken:
    probability = token.sampled_probability
    return WireToken(
        token.id,
        token.piece,
        token.origin,
        token.role,
        _wire_score(token.score) if token.score else None,
        token.u,
        None if probability is None else _sent(probability),
        token.redraw,
    )


def _wire_score(score: Score) -> WireScore:
    logit, logprob, entropy, rank = map(_sent, (score.logit, score.logprob, score.entropy_bits, score.rank))
    return WireScore(logit, logprob, entropy, rank, score.known)


def _wire_chart(chart: Chart) -> WireChart:
    effects = (
        WireEffect(str(e.stage), _sent(e.kept), _sent(e.removed), _sent(e.removed_mass), _sent(e.moved))
        for e in chart.stages
    )
    return WireChart(
        tuple(map(_wire_candidate, chart.candidates)),
        chart.others_count,
        chart.others_probability,
        _sent(chart.others_sampled),
        _sent(chart.entropy_bits),
        tuple(effects),
        _sent(chart.kept),
        chart.problem,
        _wire_candidate(chart.taken) if chart.taken else None,
        chart.divergence_bits,
        chart.known,
        chart.unknown_probability,
        chart.from_logprobs,
    )


def _wire_candidate(each: Candidate) -> WireCandidate:
    return WireCandidate(
        each.id,
        each.piece,
        each.rank,
        each.logit,
        each.probability,
        _sent(each.sampled_probability),
        each.unpatched,
        each.true,
        each.known,
    )


def _sent(value: Bounded) -> Any:
    return (value.low, value.high) if isinstance(value, Bounds) else value


# From the wire -------------------------------------------------------------------------------------------------------


class Received(NamedTuple):
    """What a message says."""

    frame: Frame
    view: View | None
    kept: int
    """How many tokens are as before."""


class Reader:
    """Reads the messages of one connection."""

    def __init__(self) -> None:
        self._tokens: tuple[Token, ...] = ()
        self._settings: tuple[bytes, bytes] | None = None
        self._patches: tuple[Patch, ...] = ()
        self._model: ModelInfo | None = None

    def read(self, message: bytes) -> Received:
        """What a message says. Raises `UserError` where it is none."""
        try:
            found = _decode(message)
            if found.kept > len(self._tokens):
                raise ValueError("tokens are missing")
            if self._settings != (found.patches, found.model):
                self._patches = _patches(found.patches) if found.patches else ()
                self._model = _model(found.model) if found.model else None
                self._settings = found.patches, found.model
            self._tokens = self._tokens[: found.kept] + tuple(map(_token, found.tokens))
            return Received(self._frame(found), found.view, found.kept)
        except (ValueError, TypeError, OverflowError, RecursionError, msgspec.DecodeError) as error:
            reason = one_line(str(error))[:200]
            raise UserError(_(NO_WALK), reason=reason) from error

    def _frame(self, found: Shared) -> Frame:
        tokens = self._tokens
        if not (
            0 < found.cursor <= len(tokens) and found.prompt_length <= len(tokens) and found.window <= found.cursor
        ):
            raise ValueError("the position is outside of the walk")
        if any(not span.start <= span.end <= len(tokens) for span in found.spans):
            raise ValueError("a message is outside of the walk")
        snapshot = Snapshot(
            tokens=tokens,
            prompt_length=found.prompt_length,
            cursor=found.cursor,
            window=found.window,
            sampler=Sampler.read(found.sampler, int(found.seed)),
            can_take_back=False,
            can_redo=False,
            chart=_chart(found.chart) if found.chart else None,
            prompt=found.prompt,
            stopped=found.stopped,
            patches=self._patches,
            spans=tuple(Span(span.start, span.end, span.role, span.thinking) for span in found.spans),
        )
        return Frame(
            activity="idle" if found.activity == "loading" else found.activity,
            choice=self._model.choice if self._model else None,
            model=self._model,
            snapshot=snapshot,
            activity_progress=Progress(*found.progress) if found.progress else None,
            generated=found.generated,
            rate=found.rate,
        )


def _patches(values: bytes) -> tuple[Patch, ...]:
    return tuple(
        map(read_patch, CheckedValues("walk", {"patches": _decode_values(values)}).objects("patches", "patch"))
    )


def _model(values: bytes) -> ModelInfo:
    part = CheckedValues("model", _decode_values(values))
    return replace(read_model(part), slow_path=part.text("slow_path", ""), stored=part.text("stored", ""))


def _token(found: WireToken) -> Token:
    score, probability = found.score, found.sampled_probability
    return Token(
        found.id,
        found.piece,
        found.origin,
        _score(score) if score else None,
        found.u,
        None if probability is None else _share(probability),
        found.redraw,
        role=found.role,
    )


def _score(found: WireScore) -> Score:
    logit, logprob, entropy, rank = map(_bounded, (found.logit, found.logprob, found.entropy_bits, found.rank))
    return Score(logit, logprob, entropy, rank, found.known)


def _chart(found: WireChart) -> Chart:
    return Chart(
        tuple(map(_candidate, found.candidates)),
        found.others_count,
        found.others_probability,
        _share(found.others_sampled),
        _bounded(found.entropy_bits),
        tuple(map(_effect, found.stages)),
        _bounded(found.kept),
        found.problem,
        _candidate(found.taken) if found.taken else None,
        None if found.divergence_bits is None else _real(found.divergence_bits),
        found.known,
        found.unknown_probability,
        found.from_logprobs,
    )


def _candidate(found: WireCandidate) -> Candidate:
    return Candidate(
        found.id,
        found.piece,
        found.rank,
        _real(found.logit),
        found.probability,
        _share(found.sampled_probability),
        found.unpatched,
        found.true,
        found.known,
    )


def _effect(found: WireEffect) -> StageEffect:
    (stage,) = Sampler.read(found.stage).stages
    return StageEffect(
        stage, _bounded(found.kept), _bounded(found.removed), _bounded(found.removed_mass), _bounded(found.moved)
    )


def _bounded(value: Any) -> Bounded:
    return between(*map(_real, value)) if isinstance(value, tuple) else _real(value)


def _share(value: Any) -> Bounded:
    """A probability."""
    found = _bounded(value)
    if not 0 <= low(found) <= high(found) <= 1.001:
        raise ValueError("a probability is not between 0 and 1")
    return found


def _real(value: float) -> float:
    if math.isnan(value):
        raise ValueError("a number is NaN")
    return value

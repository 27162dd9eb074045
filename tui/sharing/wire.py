"""What is sent of a shared walk, in MessagePack, and the frame that a viewer makes of it.

Whoever listens at an address may send anything, so every value has a type and limits (`values`), and text is made
harmless where it is drawn.
"""

from dataclasses import asdict, replace
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from core.activations.patch import Patch
from core.errors import UserError
from core.formats.checked import CheckedValues
from core.generation.token import Token
from core.language import N_, _
from core.loading.info import ModelInfo
from core.progress import Progress
from core.sampling.sampler import Sampler
from core.sequences import common_prefix
from core.sessions.patches import patch_values, read_patch
from core.sessions.reader import read_model
from core.tokenizers.chat import Span
from core.walk.values import Snapshot
from tui.drawing.text import one_line
from tui.runner import Activity, Frame
from tui.sharing.values import (
    Count,
    Finite,
    Text,
    Values,
    WireChart,
    WireSpan,
    WireToken,
    Word,
    read_chart,
    read_token,
    wire_chart,
    wire_token,
)
from tui.sharing.view import View

NO_WALK = N_("what is sent there is not a walk of this version of tokenwalk ({reason})")


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
                chart=wire_chart(snapshot.chart) if snapshot.chart else None,
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
            self._wired[same:] = map(wire_token, tokens[same:])
            self._tokens = tokens
        return self._wired


def _same(before: tuple[Token, ...], now: tuple[Token, ...]) -> int:
    """How many tokens at the beginning are the very same; fast where a walk only grew."""
    if len(before) <= len(now) and before == now[: len(before)]:
        return len(before)
    return common_prefix(before, now)


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
            self._tokens = self._tokens[: found.kept] + tuple(map(read_token, found.tokens))
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
            chart=read_chart(found.chart) if found.chart else None,
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
    slow_path, stored, unpacked = (part.text(name, "") for name in ("slow_path", "stored", "unpacked"))
    return replace(read_model(part), slow_path=slow_path, stored=stored, unpacked=unpacked)

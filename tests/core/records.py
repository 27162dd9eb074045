"""Records of walks, and their round trip through JSON."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from core.generation.token import Token
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.loading.model import Model
from core.sampling.sampler import Sampler
from core.sampling.values import Score
from core.sessions import reader, writer
from core.sessions.record import NodeRow, Record

Small = Callable[..., Model]
After = Callable[[Any, Sequence[int]], Any]
INFO = ModelInfo("model1", "zero-layer", 10, 257, 8, "cpu", "fp32", "bytes", "random weights, seed 0", ModelChoice())


def text_of(walk: Record) -> str:
    return "".join(writer.lines(walk))


def again(walk: Record) -> Record:
    """The record after a round trip through JSON, without its time."""
    return replace(reader.parse_record(text_of(walk), "walk.json"), written="", program="")


def plain(**changes: Any) -> Record:
    """A walk of three tokens with a branch."""
    score = Score(0.1, -1.25, 3.5, 7)
    drawn = Token(98, b"b", "sampled", score, 1 / 3, 0.1, 2, Sampler.of(top_k=5), INFO)
    rows = (
        NodeRow(0, Token(97, b"a"), latest=True, text="a"),
        NodeRow(1, drawn, latest=True),
        NodeRow(2, Token(128, b"\x80", "chosen", score, model=INFO), name="mine", folded=True, latest=True),
        NodeRow(1, replace(drawn, id=99, piece=b"c", u=0.9)),
    )
    return replace(Record(INFO, Sampler(), rows, 3, 2), **changes)

"""Whether a text carries a watermark: which of its tokens are in the green lists, and the z-score."""

from collections.abc import Iterator
from dataclasses import dataclass

from core.activations.trace import Step
from core.errors import Option, UserError
from core.sampling.stages.watermark import Watermark


@dataclass(frozen=True, slots=True)
class WatermarkedToken:
    """A token of the text."""

    id: int
    piece: bytes
    green: bool | None
    """Whether it is in the green list of the tokens before; None where there are too few of these."""


@dataclass(frozen=True, slots=True)
class WatermarkReport:
    """A text under the detector of one key."""

    tokens: tuple[WatermarkedToken, ...]
    watermark: str
    """Its settings, as a stage is written."""
    scored: int
    green: int
    """Scored tokens that are in their green list."""
    ratio: float
    """γ, the share expected by chance."""
    z: float
    """How many standard deviations the green tokens are above chance; 3 or more is a watermark."""
    p_value: float
    """The probability of so many by chance."""


def watermark(step: Step, settings: str = "") -> Iterator[WatermarkReport]:
    """Score the ids that the model sees. `settings` are γ, scheme, width and key, such as `0.25:lefthash:1:15485863`.

    Raises `UserError` for other settings.
    """
    try:
        stage = Watermark.read(["2", *settings.split(":")] if settings else ())
    except UserError as error:
        raise UserError(Option("watermark"), f" {settings}: ", *error.parts) from error
    yield report(step, stage)


def report(step: Step, stage: Watermark) -> WatermarkReport:
    """The report of one stage's settings."""
    found = stage.lists(step.model.tokenizer.vocab_size).score(step.ids)
    tokens = tuple(
        WatermarkedToken(id, piece, green) for id, piece, green in zip(step.ids, step.pieces, found.green, strict=True)
    )
    return WatermarkReport(tokens, str(stage), found.scored, found.hits, found.ratio, found.z, found.p_value)

"""A patch: one change to a running model, as data. It says which part, and what replaces the part's output."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from core.engine.config import ModelConfig
from core.errors import UserError

PatchKind = Literal["zero", "mean", "noise", "scale"]

PatchPart = Literal["head", "mlp", "attention", "block", "position", "query"]

PATCH_KINDS: tuple[PatchKind, ...] = get_args(PatchKind)

PATCH_PARTS: tuple[PatchPart, ...] = get_args(PatchPart)


@dataclass(frozen=True, kw_only=True, slots=True)
class Patch:
    """One change to a running model; the weights stay. `core.activations.apply` says what each kind means."""

    kind: PatchKind = "zero"
    part: PatchPart
    layer: int | None = None
    """The block, from 0; None for a position, which is patched before the first block."""
    index: int | None = None
    """The head of the layer, or the position in the model's window, from 0; None for other parts."""
    factor: float = 2.0
    """The factor of `scale`."""
    seed: int = 0
    """The seed of `noise`."""

    def __post_init__(self) -> None:
        if self.kind not in PATCH_KINDS:
            raise UserError(f"no kind of patch {self.kind!r}; choose one of {', '.join(PATCH_KINDS)}")
        if self.part not in PATCH_PARTS:
            raise UserError(f"no part {self.part!r} to patch; choose one of {', '.join(PATCH_PARTS)}")
        if not math.isfinite(self.factor):
            raise UserError(f"a patch cannot scale by {self.factor:g}; choose a finite factor")

    def check(self, config: ModelConfig) -> None:
        """Raise `UserError` where a model of this configuration has no such part."""
        if self.part == "position":
            self._check_number("position", self.index, config.context)
            return
        if not config.blocks:
            raise UserError(f"this model has no blocks, so no {self.part} to patch; they begin at model3")
        self._check_number("layer", self.layer, config.blocks)
        if self.part == "head":
            self._check_number("head", self.index, config.heads)
        if self.part == "mlp" and not config.feed_forward:
            raise UserError("this model has no feed-forward layers to patch; they begin at model4")

    def _check_number(self, what: str, value: int | None, count: int) -> None:
        if value is None or not 0 <= value < count:
            problem = "which is missing" if value is None else f"not {value}"
            raise UserError(f"a patch of a {self.part} needs a {what} from 0 to {count - 1}, {problem}")

    @property
    def label(self) -> str:
        """The patch in one short line, such as `zero head 3.5` or `scale mlp 2 × 0.5`."""
        numbers = [str(number) for number in (self.layer, self.index) if number is not None]
        amount = f" × {self.factor:g}" if self.kind == "scale" else ""
        return f"{self.kind} {self.part} {'.'.join(numbers)}{amount}"

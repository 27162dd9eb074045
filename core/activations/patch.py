"""A patch: one change to a running model, as data. It says which part, and what replaces the part's output."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from core.activations.steering_vector import SteeringVector, layer_list
from core.engine.config import ModelConfig
from core.errors import UserError

PatchKind = Literal["zero", "mean", "noise", "scale", "steer", "swap"]

PatchPart = Literal["head", "mlp", "attention", "block", "position", "query", "stream"]

PATCH_KINDS: tuple[PatchKind, ...] = ("zero", "mean", "noise", "scale")
"""The kinds that every one of `PATCH_PARTS` can have."""

SWAPPED: tuple[PatchPart, ...] = ("head", "mlp", "attention", "position")
"""The parts that `swap` can have."""

PATCH_PARTS: tuple[PatchPart, ...] = ("head", "mlp", "attention", "block", "position", "query")


@dataclass(frozen=True, kw_only=True, slots=True)
class Patch:
    """One change to a running model; the weights stay. `core.activations.apply` says what each kind means."""

    kind: PatchKind = "zero"
    part: PatchPart
    layer: int | None = None
    """The block, from 0; None for `steer`, and for a position, which is patched before the first block. Only a `swap`
    of a position has a layer, before which it is patched."""
    index: int | None = None
    """The head of the layer, or the position in the model's window, from 0; None for other parts. A `swap` of an MLP or
    attention acts at one position."""
    factor: float = 2.0
    """The factor of `scale`, and the strength of `steer`."""
    seed: int = 0
    """The seed of `noise`."""
    vector: SteeringVector | None = None
    """What `steer` adds to the residual stream, the `stream`; None for other kinds."""
    ids: tuple[int, ...] = ()
    """The other prompt of a `swap`; empty for other kinds."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(PatchKind):
            raise UserError(f"no kind of patch {self.kind!r}; choose one of {', '.join(get_args(PatchKind))}")
        if self.part not in get_args(PatchPart):
            raise UserError(f"no part {self.part!r} to patch; choose one of {', '.join(get_args(PatchPart))}")
        if not (self.kind == "steer") == (self.part == "stream") == (self.vector is not None):
            raise UserError(f"a patch {self.kind} of the {self.part} is not possible; steer the stream with a vector")
        if (self.kind == "swap") != bool(self.ids) or (self.ids and self.part not in SWAPPED):
            raise UserError(
                f"a patch {self.kind} of the {self.part} is not possible; swap one of {', '.join(SWAPPED)} with that "
                "of another prompt"
            )
        if not math.isfinite(self.factor):
            raise UserError(f"a patch cannot {self.kind} by {self.factor:g}; choose a finite factor")

    def check(self, config: ModelConfig) -> None:
        """Raise `UserError` where a model of this configuration has no such part."""
        if self.vector:
            self.vector.check(config)
            return
        if self.kind == "swap":
            self._check_swap(config)
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

    def _check_swap(self, config: ModelConfig) -> None:
        self._check_number("layer", self.layer, config.blocks)
        if self.part != "head":
            self._check_number("position", self.index, min(len(self.ids), config.context))
        if len(self.ids) > config.context or not all(0 <= id < config.vocab_size for id in self.ids):
            raise UserError(
                f"the other prompt of {self.label} is no prompt of this model; it has up to {config.context:,} ids "
                f"from 0 to {config.vocab_size - 1:,}"
            )

    def _check_number(self, what: str, value: int | None, count: int) -> None:
        if value is None or not 0 <= value < count:
            problem = "which is missing" if value is None else f"not {value}"
            raise UserError(f"a patch of a {self.part} needs a {what} from 0 to {count - 1}, {problem}")

    @property
    def label(self) -> str:
        """The patch in one short line, such as `zero head 3.5`, `steer joy × 4, layer 7` or `swap mlp 2 at 13`."""
        if self.vector:
            return f"steer {self.vector.name} × {self.factor:g}, {layer_list(self.vector.layers)}"
        if self.kind == "swap" and self.part != "head":
            return f"swap {'residual' if self.part == 'position' else self.part} {self.layer} at {self.index}"
        numbers = [str(number) for number in (self.layer, self.index) if number is not None]
        amount = f" × {self.factor:g}" if self.kind == "scale" else ""
        return f"{self.kind} {self.part} {'.'.join(numbers)}{amount}"

    @property
    def acting(self) -> "tuple[Patch, ...]":
        """The patches that act on one module each: of `steer` one for each layer, and none where its strength is 0."""
        if not self.vector:
            return (self,)
        layers = self.vector.layers if self.factor else ()
        return tuple(replace(self, layer=layer, vector=self.vector.at(layer)) for layer in layers)


def toggled(patches: tuple[Patch, ...], patch: Patch) -> tuple[Patch, ...]:
    """Patches with one more, or without it where it is among them."""
    return tuple(each for each in patches if each != patch) if patch in patches else (*patches, patch)

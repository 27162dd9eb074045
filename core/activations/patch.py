"""A patch: one change to a running model, as data. It says which part, and what replaces the part's output."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from core.activations.steering_vector import SteeringVector, layer_list
from core.engine.config import ModelConfig
from core.errors import UserError
from core.language import _

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
            raise UserError(
                _("{kind!r} is not a kind of patch; choose one of {choices}"),
                kind=self.kind,
                choices=", ".join(get_args(PatchKind)),
            )
        if self.part not in get_args(PatchPart):
            raise UserError(
                _("{part!r} is not a part that can be patched; choose one of {choices}"),
                part=self.part,
                choices=", ".join(get_args(PatchPart)),
            )
        if not (self.kind == "steer") == (self.part == "stream") == (self.vector is not None):
            raise UserError(
                _("the patch {kind} does not apply to the part {part}; steer the stream, with a vector"),
                kind=self.kind,
                part=self.part,
            )
        if (self.kind == "swap") != bool(self.ids) or (self.ids and self.part not in SWAPPED):
            raise UserError(
                _(
                    "the patch {kind} does not apply to the part {part}; swap one of {choices} with that of another "
                    "prompt"
                ),
                kind=self.kind,
                part=self.part,
                choices=", ".join(SWAPPED),
            )
        if not math.isfinite(self.factor):
            raise UserError(_("the factor of a patch must be finite, not {factor:g}"), factor=self.factor)

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
            raise UserError(
                _("this model has no blocks, so it has no {part} to patch; choose model3 or a later model"),
                part=self.part,
            )
        self._check_number("layer", self.layer, config.blocks)
        if self.part == "head":
            self._check_number("head", self.index, config.heads)
        if self.part == "mlp" and not config.feed_forward:
            raise UserError(_("this model has no feed-forward layers to patch; choose model4 or a later model"))

    def _check_swap(self, config: ModelConfig) -> None:
        self._check_number("layer", self.layer, config.blocks)
        if self.part != "head":
            self._check_number("position", self.index, min(len(self.ids), config.context))
        if len(self.ids) > config.context or not all(0 <= id < config.vocab_size for id in self.ids):
            raise UserError(
                _(
                    "the other prompt of {label} does not fit this model, which reads up to {context:,} ids from 0 to "
                    "{last:,}"
                ),
                label=self.label,
                context=config.context,
                last=config.vocab_size - 1,
            )

    def _check_number(self, what: str, value: int | None, count: int) -> None:
        if value is None or not 0 <= value < count:
            problem = _("none is given") if value is None else _("{value} is given").format(value=value)
            raise UserError(
                _("the patch of a {part} needs a {what} from 0 to {last}: {problem}"),
                part=self.part,
                what=what,
                last=count - 1,
                problem=problem,
            )

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

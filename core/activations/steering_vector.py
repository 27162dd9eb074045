"""A steering vector: directions that are added to the residual stream, as data. Imports no torch."""

import math
import sys
from array import array
from dataclasses import dataclass, replace
from itertools import pairwise

from core.engine.config import ModelConfig
from core.errors import UserError
from core.language import _


@dataclass(frozen=True, slots=True)
class SteeringVector:
    """Directions by layer. The direction of layer N is added to the output of block N, at every position.

    Turner et al. 2023, "Activation addition"; Rimsky et al. 2024, "Steering Llama 2 via contrastive activation
    addition". Layers count from 0, as in llama.cpp's control vectors. Raises `UserError` for no direction, for
    directions of several widths, and for numbers that are not finite.
    """

    name: str
    directions: tuple[tuple[int, bytes], ...]
    """(layer, direction) with rising layers; a direction is d numbers, float32 in the byte order of the machine."""
    origin: str = ""
    """How it was made, in one line; empty where that is not known."""

    def __post_init__(self) -> None:
        if not self.directions:
            raise UserError(_("the steering vector {name} has no direction; make or load another one"), name=self.name)
        if any(later <= layer for (layer, _), (later, _) in pairwise(self.directions)) or self.layers[0] < 0:
            raise UserError(
                _("the layers of the steering vector {name} are not in increasing order; make or load another one"),
                name=self.name,
            )
        if len({len(direction) for _, direction in self.directions}) > 1 or not self.width:
            raise UserError(
                _("the directions of the steering vector {name} differ in width; load another one"), name=self.name
            )
        for layer in self.layers:
            if not all(map(math.isfinite, self.numbers(layer))):
                raise UserError(
                    _(
                        "the steering vector {name} has non-finite numbers (NaN or infinity) in layer {layer}; make "
                        "it again"
                    ),
                    name=self.name,
                    layer=layer,
                )

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that have a direction."""
        return tuple(layer for layer, _ in self.directions)

    @property
    def width(self) -> int:
        """d, the width of the directions."""
        return len(self.directions[0][1]) // 4

    def numbers(self, layer: int) -> list[float]:
        """The direction of a layer, [d]."""
        return array("f", dict(self.directions)[layer]).tolist()

    def norm(self, layer: int) -> float:
        """The L2 norm of the direction of a layer."""
        return math.hypot(*self.numbers(layer))

    def at(self, layer: int) -> "SteeringVector":
        """The vector with the direction of one layer. A vector that has only one direction gets it at any layer.

        Raises `UserError` where it has several and none of that layer.
        """
        if len(self.directions) == 1:
            return replace(self, directions=((layer, self.directions[0][1]),))
        if layer not in self.layers:
            raise UserError(
                _("the steering vector {name} has no direction for layer {layer}, only for {known}"),
                name=self.name,
                layer=layer,
                known=layer_list(self.layers),
            )
        return replace(self, directions=((layer, dict(self.directions)[layer]),))

    def check(self, config: ModelConfig) -> None:
        """Raise `UserError` where a model of this configuration cannot be steered by it."""
        if not config.blocks:
            raise UserError(_("this model has no blocks to steer; choose model3 or a later model"))
        if self.width != config.embed_dim:
            raise UserError(
                _(
                    "the steering vector {name} is {width:,} wide, but the residual stream of this model is "
                    "{embed_dim:,} wide; make a vector with this model, or choose the model it was made with"
                ),
                name=self.name,
                width=self.width,
                embed_dim=config.embed_dim,
            )
        if self.layers[-1] >= config.blocks:
            raise UserError(
                _(
                    "the steering vector {name} has a direction for layer {layer}, but this model has layers 0 to "
                    "{last}; choose the model it was made with"
                ),
                name=self.name,
                layer=self.layers[-1],
                last=config.blocks - 1,
            )


def layer_list(layers: tuple[int, ...]) -> str:
    """Layers in words, such as `layer 3`, `layers 1 to 29` or `layers 2, 5`."""
    if len(layers) == 1:
        return f"layer {layers[0]}"
    if layers == tuple(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]} to {layers[-1]}"
    return f"layers {', '.join(map(str, layers))}"


def little_endian(numbers: bytes) -> bytes:
    """Numbers of 4 bytes from the byte order of the machine to that of files, or back."""
    if sys.byteorder == "little":
        return numbers
    swapped = array("f", numbers)
    swapped.byteswap()
    return swapped.tobytes()

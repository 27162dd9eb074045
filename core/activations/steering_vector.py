"""A steering vector: directions that are added to the residual stream, as data. Imports no torch."""

import math
import sys
from array import array
from dataclasses import dataclass, replace
from itertools import pairwise

from core.engine.config import ModelConfig
from core.errors import UserError


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
            raise UserError(f"the steering vector {self.name} has no direction; make or load another one")
        if any(later <= layer for (layer, _), (later, _) in pairwise(self.directions)) or self.layers[0] < 0:
            raise UserError(f"the steering vector {self.name} has layers that do not rise; make or load another one")
        if len({len(direction) for _, direction in self.directions}) > 1 or not self.width:
            raise UserError(f"the steering vector {self.name} has directions of several widths; load another one")
        for layer in self.layers:
            if not all(map(math.isfinite, self.numbers(layer))):
                raise UserError(
                    f"the steering vector {self.name} has numbers in layer {layer} that are not finite (NaN or "
                    "infinity); make it again"
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
                f"the steering vector {self.name} has no direction for layer {layer}, "
                f"only for {layer_list(self.layers)}"
            )
        return replace(self, directions=((layer, dict(self.directions)[layer]),))

    def check(self, config: ModelConfig) -> None:
        """Raise `UserError` where a model of this configuration cannot be steered by it."""
        if not config.blocks:
            raise UserError("this model has no blocks, so nothing to steer; they begin at model3")
        if self.width != config.embed_dim:
            raise UserError(
                f"the steering vector {self.name} is {self.width:,} wide, but the residual stream of this model is "
                f"{config.embed_dim:,} wide; make a vector with this model, or choose the model it was made with"
            )
        if self.layers[-1] >= config.blocks:
            raise UserError(
                f"the steering vector {self.name} has a direction for layer {self.layers[-1]}, but this model has "
                f"layers 0 to {config.blocks - 1}; choose the model it was made with"
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

"""The list of steering vectors of the app: which act, at which layer and strength. No widgets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.activations.patch import Patch
from core.activations.steering_vector import SteeringVector
from core.language import _

SIZES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
STRENGTHS = (*(-size for size in reversed(SIZES)), 0.0, *SIZES)
"""The strengths that keys choose among."""


@dataclass(frozen=True, slots=True)
class Steering:
    """One vector of the list."""

    vector: SteeringVector
    layer: int | None = None
    """The layer whose direction acts; None is every layer that has one."""
    strength: float = 1.0
    on: bool = True

    @property
    def patch(self) -> Patch:
        """What acts in the model."""
        acting = self.vector if self.layer is None else self.vector.at(self.layer)
        return Patch(kind="steer", part="stream", factor=self.strength, vector=acting)

    def stronger(self, by: int) -> "Steering":
        """The next strength of `STRENGTHS` that is larger (`by` 1) or smaller (-1)."""
        others = [each for each in STRENGTHS if (each > self.strength if by > 0 else each < self.strength)]
        return replace(self, strength=(min if by > 0 else max)(others)) if others else self

    def moved(self, by: int, blocks: int) -> "Steering":
        """At the next layer, of a model with so many blocks; a vector of several layers also acts at all of them."""
        several = len(self.vector.layers) > 1
        layers = self.vector.layers if several else tuple(range(blocks))
        choices: list[int | None] = [*([None] if several else []), *(layer for layer in layers if layer < blocks)]
        present = self.layer if several or self.layer is not None else self.vector.layers[0]
        if not choices:
            return self
        at = choices.index(present) + by if present in choices else 0
        return replace(self, layer=choices[max(0, min(at, len(choices) - 1))])

    @property
    def place(self) -> str:
        """Where it acts, in words."""
        if self.layer is not None:
            return _("layer {layer}").format(layer=self.layer)
        layers = self.vector.layers
        if len(layers) == 1:
            return _("layer {layer}").format(layer=layers[0])
        return _("{count} layers").format(count=len(layers))


def acting(entries: Sequence[Steering]) -> tuple[Patch, ...]:
    """The patches of the entries that are on."""
    return tuple(entry.patch for entry in entries if entry.on)


def adopted(entries: Sequence[Steering], patches: Sequence[Patch]) -> tuple[Steering, ...]:
    """The list with what acts in the model: other entries are off, and a vector that is not listed is added."""
    steering = [patch for patch in patches if patch.vector]
    found = [replace(entry, on=entry.patch in steering) for entry in entries]
    listed = [entry.patch for entry in entries]
    for patch in steering:
        if patch not in listed and patch.vector:
            found.append(Steering(patch.vector, strength=patch.factor))
    return tuple(found)

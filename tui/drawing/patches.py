"""Patches in words, in the language in use; `core` names their kinds and parts in English."""

from core.activations.patch import Patch, PatchKind
from core.language import N_, _
from tui.drawing.parts import part_name

KINDS = {
    "zero": N_("zero {part}"),
    "mean": N_("mean {part}"),
    "noise": N_("noise {part}"),
    "scale": N_("scale {part}"),
    "swap": N_("swap {part}"),
}


def kind_name(kind: PatchKind) -> str:
    """A kind alone, such as `zero`."""
    return _(KINDS[kind]).format(part="").strip()


def patch_name(patch: Patch) -> str:
    """A patch in one short line, such as `zero head 3.5`, `steer joy × 4, layer 7` or `swap mlp 2 at 13`."""
    if patch.vector:
        return _("steer {name} × {factor:g}, {layers}").format(
            name=patch.vector.name, factor=patch.factor, layers=layers_name(patch.vector.layers)
        )
    if patch.kind == "swap" and patch.part != "head":
        part = part_name("residual" if patch.part == "position" else patch.part)
        return _("swap {part} {layer} at {position}").format(part=part, layer=patch.layer, position=patch.index)
    numbers = ".".join(str(number) for number in (patch.layer, patch.index) if number is not None)
    name = _(KINDS[patch.kind]).format(part=f"{part_name(patch.part)} {numbers}")
    return f"{name} × {patch.factor:g}" if patch.kind == "scale" else name


def layers_name(layers: tuple[int, ...]) -> str:
    """Layers in words, such as `layer 3`, `layers 1 to 29` or `layers 2, 5`."""
    if len(layers) == 1:
        return _("layer {layer}").format(layer=layers[0])
    if layers == tuple(range(layers[0], layers[-1] + 1)):
        return _("layers {first} to {last}").format(first=layers[0], last=layers[-1])
    return _("layers {layers}").format(layers=", ".join(map(str, layers)))

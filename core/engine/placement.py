"""A model whose blocks are on several devices. accelerate chooses the devices and moves states between them.

A block is never split: its weights, keys and values are on one device. Hooks of accelerate replace `forward` of modules
and move their inputs; forward hooks see inputs before that, and outputs where they were computed.
"""

from collections.abc import Mapping
from copy import deepcopy
from importlib.util import find_spec
from typing import Any

import torch

from core.engine.model import BLOCKS, Transformer
from core.errors import Option, UserError
from core.language import _

Placement = Mapping[str, torch.device]
"""Module of the model → the device of its weights; every weight is in one of the modules."""


def require_accelerate(name: str) -> None:
    """Raise `UserError` where accelerate is not installed."""
    if find_spec("accelerate") is None:
        raise UserError(
            _("{name} needs more than one GPU, and spreading it over several needs accelerate: install tokenwalk[gpu]"),
            name=name,
        )


def place(model: Transformer, room: Mapping[torch.device, float], bits: float) -> Placement:
    """Where the weights of a model go that may be on the meta device.

    `room` are the bytes for weights on each CUDA device, in the order in which they are filled; a weight has `bits`
    bits on average. What is not in a block is on the first. Raises `UserError` where the blocks do not fit so.
    """
    from accelerate import infer_auto_device_map  # noqa: PLC0415  # an extra

    first, names = next(iter(room)), [kind.__name__ for kind in BLOCKS.values()]
    rest = sum(each.numel() for name, each in model.named_parameters() if not name.startswith("blocks."))
    free = {**room, first: room[first] - rest * bits / 8}
    # As numbers of 16 bits, whose room grows in the same measure: accelerate knows no fractions of a byte.
    most: dict[Any, Any] = {device.index: max(0, int(size * 16 / bits)) for device, size in free.items()}
    found = infer_auto_device_map(model.blocks, most, names, dtype=torch.float16, clean_result=False)
    if not all(isinstance(index, int) for index in found.values()):
        raise UserError(
            _("the blocks of this model do not fit into what is left of {count} GPUs; choose a {dtype} of fewer bits"),
            count=len(room),
            dtype=Option("dtype"),
        )
    blocks = {f"blocks.{n}": torch.device(first.type, index) for n, index in found.items()}
    return {name: first for name, _unused in model.named_children() if name != "blocks"} | blocks


def device_of(placement: Placement, name: str) -> torch.device:
    """The device of a parameter or module, by its name; the name of the whole model is empty."""
    while name not in placement:
        name = name.rpartition(".")[0]
    return placement[name]


def spread(model: Transformer, placement: Placement) -> Transformer:
    """The model, whose states now move to the device of each module. Its weights are where `placement` says already."""
    from accelerate import dispatch_model  # noqa: PLC0415  # an extra

    blocks: Any = model.blocks
    copies: dict[tuple[int, torch.device], Any] = {}
    for n, block in enumerate(blocks):  # a table of angles is on one device
        device, rotary = device_of(placement, f"blocks.{n}"), block.attention.rotary
        block.attention.rotary = copies.setdefault((id(rotary), device), deepcopy(rotary))
    return dispatch_model(model, dict(placement), main_device=device_of(placement, "embed"))

"""Whether something fits into memory, asked before any of it is allocated."""

from collections.abc import Sequence

import torch

from core.engine import device as devices
from core.engine import memory
from core.errors import Part, UserError
from core.language import _

SHARE = 0.8
"""Of a device's memory, that weights may take."""


def check_room(name: str, needed: float, device: torch.device, advice: Sequence[Part]) -> None:
    """Raise `UserError` where `needed` bytes are more than `SHARE` of a memory, or than what is left of it.

    A model on another device passes through the memory of the CPU.
    """
    for info in devices.devices():
        if info.name not in ("cpu", str(device)) or not info.memory_bytes:
            continue
        left = _left(info.name)
        if needed > SHARE * info.memory_bytes or (left is not None and needed > left):
            rest = "" if left is None else _(", {size} of it available").format(size=size(left))
            raise UserError(
                _("{name} needs {needed} of memory, but {device} has {memory}{rest}; {advice}"),
                name=name,
                needed=size(needed),
                device=info.name,
                memory=size(info.memory_bytes),
                rest=rest,
                advice=advice,
            )


def size(count: float) -> str:
    """Bytes in GB, or in MB below one."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _left(device: str) -> int | None:
    """Bytes that are left of the memory of a device; None where that is not known."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(torch.device(device))[0]
    return memory.available() if device == "cpu" else None

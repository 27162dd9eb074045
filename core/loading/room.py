"""Whether something fits into memory, asked before any of it is allocated."""

from collections.abc import Sequence

import torch

from core.engine import device as devices
from core.engine import memory, placement
from core.errors import Part, UserError
from core.language import _

SHARE = 0.8
"""Of a device's memory, that weights may take."""


def check_room(
    name: str, needed: float, device: torch.device, advice: Sequence[Part], *, made_on_cpu: bool = True
) -> None:
    """Raise `UserError` where `needed` bytes are more than `SHARE` of a memory, or than what is left of it.

    With `made_on_cpu` all of it is in the memory of the CPU before it goes to another device.
    """
    for info in devices.devices():
        if info.name not in ("cpu" if made_on_cpu else "", str(device)) or not info.memory_bytes:
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


def cards_for(
    name: str, needed: float, device: torch.device, asked: str, advice: Sequence[Part]
) -> dict[torch.device, float]:
    """The GPUs over which a model of `needed` bytes is spread, and the bytes for weights on each.

    Empty where it fits on `device`, or where `asked`, the device's name in the choice, means one device only. Raises
    `UserError` where all of them together have no room, and where accelerate is not installed.
    """
    several = device.type == "cuda" and asked in ("cuda", "auto")
    free = {
        torch.device(info.name): min(SHARE * info.memory_bytes, left)
        for info in devices.devices()
        if several and info.name.startswith("cuda:") and info.memory_bytes and (left := _left(info.name)) is not None
    }
    if len(free) < 2 or needed <= free[device]:
        check_room(name, needed, device, advice, made_on_cpu=False)
        return {}
    if needed > sum(free.values()):
        raise UserError(
            _("{name} needs {needed} of memory, but {count} GPUs have {room} for weights; {advice}"),
            name=name,
            needed=size(needed),
            count=len(free),
            room=size(sum(free.values())),
            advice=advice,
        )
    placement.require_accelerate(name)
    return free


def size(count: float) -> str:
    """Bytes in GB, or in MB below one."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _left(device: str) -> int | None:
    """Bytes that are left of the memory of a device; None where that is not known."""
    if device.startswith("cuda"):
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch keeps what was freed
        return torch.cuda.mem_get_info(torch.device(device))[0] + unused
    return memory.available() if device == "cpu" else None

"""The description of a device, without torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device that a model could run on."""

    name: str
    """What a person chooses it by: `cpu`, `cuda:0`, `mps`."""
    label: str
    """The manufacturer's name for it."""
    memory_bytes: int | None
    """Size of its memory; None where the system does not tell."""
    problem: str | None = None
    """Why it cannot be used; None where it can."""

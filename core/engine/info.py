"""The description of a device, and the names of packed number formats, without torch."""

from dataclasses import dataclass

STORED = "stored"
"""The weights of a GGUF file in its own formats, mapped and not converted; on the CPU only."""
PACKED = (STORED, "int8", "int4")
"""Formats of quantized weights, which only models from files have. Hidden states are fp32 then on the CPU, and 16 bits
elsewhere."""


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

"""What is known of a device, without torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A place a model could run."""

    name: str
    """What `--device` takes."""
    label: str
    """The maker's name for it."""
    memory_bytes: int | None
    problem: str | None = None
    """Why it cannot be used; None where it can."""

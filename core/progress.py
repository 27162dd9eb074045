"""Progress of long work, as counts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a prompt through the model: tokens read so far, of how many."""

    done: int
    total: int

"""Progress of long work, as counts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a prompt through the model: tokens read so far, of how many."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Loading:
    """Progress of loading a model."""

    activity: Literal["downloading", "reading", "compiling", "connecting"]
    name: str
    """The model that is downloaded or compiled for, or the tensor that is read next.

    It comes from a file, so it is hostile text.
    """
    done: int
    """Bytes, of `total`."""
    total: int


Report = Callable[[Loading], None]
"""Is called often with the progress of loading. It may raise `Cancelled`: then nothing of the model stays."""


class Cancelled(Exception):
    """A person has cancelled what is being done."""


class Interrupted(Cancelled):
    """Something else is to be done now; what is being done can be begun again."""

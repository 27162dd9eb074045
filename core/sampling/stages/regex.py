"""A regular expression, in the syntax of Rust's regex crate, for the whole text."""

from dataclasses import dataclass
from typing import ClassVar

from core.constraints.source import Kind
from core.language import N_
from core.sampling.stages.constraint import Constraint


@dataclass(frozen=True, kw_only=True, slots=True)
class Regex(Constraint):
    """A regular expression, in the syntax of Rust's regex crate, for the whole text."""

    NAME: ClassVar[str] = "regex"
    TITLE: ClassVar[str] = N_("regular expression")
    SHORT: ClassVar[str] = "regex"
    PLACE: ClassVar[float] = 0.2
    KIND: ClassVar[Kind] = "regex"

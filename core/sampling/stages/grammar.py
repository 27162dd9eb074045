"""A grammar, in llguidance's form of Lark or in llama.cpp's GBNF."""

from dataclasses import dataclass
from typing import ClassVar

from core.constraints.source import Kind
from core.language import N_
from core.sampling.stages.constraint import Constraint


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar(Constraint):
    """A grammar, in llguidance's form of Lark or in llama.cpp's GBNF."""

    NAME: ClassVar[str] = "grammar"
    TITLE: ClassVar[str] = N_("grammar")
    SHORT: ClassVar[str] = "grammar"
    PLACE: ClassVar[float] = 0.5
    KIND: ClassVar[Kind] = "grammar"

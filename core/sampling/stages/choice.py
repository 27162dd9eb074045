"""One of several texts, written `' yes';' no'`."""

import json
from dataclasses import dataclass
from typing import ClassVar

from core.constraints.source import Kind
from core.errors import UserError
from core.sampling.stages import syntax
from core.sampling.stages.constraint import Constraint
from core.sampling.stages.stage import knob

FORM = "choice=' yes';' no'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice(Constraint):
    """One of several texts, written `' yes';' no'`."""

    NAME: ClassVar[str] = "choice"
    TITLE: ClassVar[str] = "choice"
    SHORT: ClassVar[str] = "choice"
    PLACE: ClassVar[float] = 0.3
    KIND: ClassVar[Kind] = "choice"

    text: str = knob("", label="texts", kind="list")

    def form_text(self) -> str:
        texts = [text for text, _ in syntax.entries(self.text, biases=False, form=FORM)]
        if any(isinstance(text, int) for text in texts):
            raise UserError(f"a choice is among texts, in quotes; write {FORM}")
        return json.dumps(texts)

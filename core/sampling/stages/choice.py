"""One of several texts, written `' yes';' no'`."""

import json
from dataclasses import dataclass
from typing import ClassVar

from core.constraints.source import Kind
from core.errors import UserError
from core.language import N_, _
from core.sampling.stages import syntax
from core.sampling.stages.constraint import Constraint
from core.sampling.stages.stage import knob

FORM = "choice=' yes';' no'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice(Constraint):
    """One of several texts, written `' yes';' no'`."""

    NAME: ClassVar[str] = "choice"
    TITLE: ClassVar[str] = N_("choice")
    SHORT: ClassVar[str] = "choice"
    PLACE: ClassVar[float] = 0.3
    KIND: ClassVar[Kind] = "choice"

    text: str = knob("", label=N_("texts"), kind="list")

    def form_text(self) -> str:
        texts = [text for text, _ in syntax.entries(self.text, biases=False, form=FORM)]
        if any(isinstance(text, int) for text in texts):
            raise UserError(_("a choice is a list of texts in quotes; write {form}"), form=FORM)
        return json.dumps(texts)

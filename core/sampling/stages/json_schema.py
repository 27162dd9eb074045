"""A JSON value that a schema accepts, written as Python's `json.dumps` does."""

from dataclasses import dataclass
from typing import ClassVar

from core.constraints.source import Kind
from core.language import N_
from core.sampling.stages.constraint import Constraint


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonSchema(Constraint):
    """A JSON value that a schema accepts, written as Python's `json.dumps` does."""

    NAME: ClassVar[str] = "json"
    TITLE: ClassVar[str] = N_("JSON schema")
    SHORT: ClassVar[str] = "json"
    PLACE: ClassVar[float] = 0.4
    KIND: ClassVar[Kind] = "json"

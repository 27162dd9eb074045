"""What a person has done in a step, as a value that is kept with the progress."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui.course.difference import DifferenceView
from tui.course.expressions import Expression
from tui.course.measuring import Reading, Wanted


@dataclass(slots=True)
class StepState:
    """What has happened in a step since it was opened. Blocks are named by their number in the step."""

    pressed: Counter[str] = field(default_factory=Counter)
    """How often the key of each action was pressed."""
    counted: Counter[int] = field(default_factory=Counter)
    """How often the key of a wait was pressed since the wait was reached."""
    answered: dict[int, list[int]] = field(default_factory=dict)
    """The answers given to a question, from 0."""
    hints: Counter[int] = field(default_factory=Counter)
    """How many hints of a task are shown; one more than there are shows the solution."""
    reached: set[int] = field(default_factory=set)
    """The tasks that were done."""
    found: dict[Wanted, Reading | DifferenceView] = field(default_factory=dict)
    """What was measured."""

    def values(self) -> dict[str, Any]:
        """The state as JSON has it. Differences of models and what could not be measured are left out."""
        found = [
            [each.text, each.line, each.format, reading.shown, reading.holds]
            for each, reading in self.found.items()
            if isinstance(each, Expression) and isinstance(reading, Reading) and not reading.problem
        ]
        return {
            "pressed": dict(self.pressed),
            "counted": list(self.counted.items()),
            "answered": list(self.answered.items()),
            "hints": list(self.hints.items()),
            "reached": sorted(self.reached),
            "found": found,
        }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "StepState":
        """The state of `values`; a new one where they are damaged."""
        try:
            found: dict[Wanted, Reading | DifferenceView] = {
                Expression(str(text), int(line), str(form)): Reading(str(shown), bool(holds))
                for text, line, form, shown, holds in values["found"]
            }
            return cls(
                Counter({str(id): int(count) for id, count in values["pressed"].items()}),
                Counter({int(number): int(count) for number, count in values["counted"]}),
                {int(number): [int(answer) for answer in given] for number, given in values["answered"]},
                Counter({int(number): int(count) for number, count in values["hints"]}),
                {int(number) for number in values["reached"]},
                found,
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()

"""The values of a lesson: steps of prose, directives and code. They come from `parse` and are never changed."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from tui.course.expressions import Expression


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong in a file of a lesson."""

    file: Path
    line: int
    """From 1."""
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a step."""

    line: int
    """Where it begins in the file, from 1."""


@dataclass(frozen=True, slots=True)
class Prose(Block):
    """Paragraphs, lists, tables and other code, in Markdown."""

    text: str
    """In it a character from `FIRST_VALUE` on stands for each of `values`."""
    values: tuple[Expression | str, ...] = ()
    """Measurements, and ids of actions whose key is shown."""

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """The measurements in the text."""
        return tuple(value for value in self.values if isinstance(value, Expression))

    @property
    def actions(self) -> tuple[str, ...]:
        """The ids of actions whose keys are in the text."""
        return tuple(value for value in self.values if isinstance(value, str))


KEY = re.compile(r"\{key\}`(?P<action>[^`]*)`")
"""The key of an action, in the words of a directive."""
FIRST_VALUE = 0xE000
"""The first character that stands for a value in `Prose.text`."""


@dataclass(frozen=True, slots=True)
class Code(Block):
    """A Python block, which runs in a notebook as it is printed."""

    source: str
    output: str | None = None
    """What it prints, where the lesson says so."""
    output_line: int = 0


@dataclass(frozen=True, slots=True)
class Set(Block):
    """The state of the app when the step opens."""

    values: tuple[tuple[str, str], ...]
    """Names and values in the order of the file; the names are those of `SETTINGS`."""

    lines: tuple[int, ...] = ()
    """The line of each."""

    def get(self, name: str) -> str | None:
        """The value of a setting; None where it is not set."""
        return dict(self.values).get(name)


SETTINGS = (
    "model",
    "prompt",
    "lens",
    "panel",
    "seed",
    "temperature",
    "sampler",
    "position",
    "keys",
    "tokenizer",
    "weights_seed",
    "embed_dim",
    "context",
    "blocks",
    "heads",
    "activation",
    "dtype",
    "chat",
    "count",
)
"""What `{set}` can set."""


@dataclass(frozen=True, slots=True)
class Press(Block):
    """Waits until the person has pressed the key of an action."""

    action: str
    """An id of `tui.keys`."""
    count: int = 1
    text: str = ""
    """What is said of it; empty for the words of the key itself."""


@dataclass(frozen=True, slots=True)
class Claim(Block):
    """Conditions that hold, each measured now."""

    text: str
    conditions: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Task(Block):
    """Something to reach, which the app checks."""

    text: str
    checks: tuple[Expression, ...]
    """All must hold."""
    hints: tuple[str, ...] = ()
    solution: tuple[str, ...] = ()
    """Keys, actions and typed texts, one after the other, as `keys.spelled` reads them."""


@dataclass(frozen=True, slots=True)
class Question(Block):
    """A question with answers to choose from."""

    text: str
    answers: tuple[str, ...]
    right: frozenset[int]
    """The numbers of the right answers, from 0."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Difference(Block):
    """What changed between two models: configuration, source and distribution."""

    before: str
    after: str


def expressions(block: Block) -> tuple[Expression, ...]:
    """What a block measures of the walk or of a model."""
    match block:
        case Prose():
            return block.expressions
        case Claim(conditions=found) | Task(checks=found):
            return found
    return ()


@dataclass(frozen=True, slots=True)
class Step:
    """What the panel shows at a time."""

    title: str
    line: int
    blocks: tuple[Block, ...]

    def all(self, kind: type[Block]) -> tuple[Block, ...]:
        """The blocks of a kind."""
        return tuple(block for block in self.blocks if isinstance(block, kind))


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson of the course."""

    file: Path
    number: int
    """Its place in the course; the number at the beginning of the file's name."""
    title: str
    steps: tuple[Step, ...]
    source: str = ""
    """What of the article it follows."""
    minutes: int | None = None
    mistakes: tuple[Mistake, ...] = field(default=(), compare=False)
    """What was wrong in the file; the parts that were wrong are left out."""

    @property
    def name(self) -> str:
        """The name of the file without its ending; the same in every language."""
        return self.file.stem

"""What every stage of a sampler has: a name, a formula, a source, knobs, and `apply`. Needs no NumPy and no torch."""

import math
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from core.errors import UserError
from core.language import _
from core.sampling.stages import syntax

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection

Kind = Literal["number", "whole", "text", "list"]


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting of a stage: its range, and how a person turns it."""

    name: str
    label: str
    """A word for the screen."""
    kind: Kind
    """`text` is a free text; `list` is a text in the written form of a list, which the stage reads itself."""
    off: Any
    """The value that leaves the distribution as it is where this is the first knob of a stage; else its default."""
    usual: Any
    """The value that people start from."""
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    """Whether `low` itself is not allowed."""
    step: float = 1.0
    """What one turn adds."""
    ladder: tuple[float, ...] = ()
    """The values that turning reaches, in their order, where they are not evenly spaced; `off` may end it."""
    reach: tuple[float, float] | None = None
    """The lowest and the highest value that turning reaches; None for the whole range."""
    counts_tokens: bool = False
    """Whether it is a number of tokens of the vocabulary, which from V on changes nothing."""

    def turned(self, value: Any, by: int, vocab_size: int | None = None) -> Any:
        """The next value up (`by` 1) or down (-1); a number of tokens stays below `vocab_size`."""
        if self.ladder:
            limit = vocab_size if self.counts_tokens and vocab_size else math.inf
            return self._on_ladder(value, by, limit)
        low, high = self.reach or (self.low, self.high)
        turned = round(value + by * self.step, 10)
        turned = min(max(high, value), max(min(low, value), turned))
        return int(turned) if self.kind == "whole" else float(turned)

    def _on_ladder(self, value: Any, by: int, limit: float) -> Any:
        """The next value of the ladder below `limit`; a value that is off stands beyond its end."""
        off_last = self.ladder[-1] == self.off

        def height(each: Any) -> float:
            return math.inf if off_last and each == self.off else each

        reached = [each for each in self.ladder if each < limit or each == self.off]
        beyond = [each for each in reached if (height(each) - height(value)) * by > 0]
        return type(value)((min if by > 0 else max)(beyond, key=height)) if beyond else value

    def check(self, title: str, value: Any) -> None:
        """Raise `UserError` for a value outside the range."""
        if self.kind in ("text", "list"):
            return
        fits = self.low <= value <= self.high and value < math.inf and not (self.above_low and value == self.low)
        if not fits or (self.kind == "whole" and value != int(value)):
            raise UserError(
                _("{title} must be {allowed}, not {value}"),
                title=title,
                allowed=self.range_text(),
                value=syntax.written(value, self.kind),
            )

    def range_text(self) -> str:
        """The allowed values in words, such as `between 0 and 1`."""
        low, high = f"{self.low:g}", f"{self.high:g}"
        if math.isinf(self.high):
            words = _("above {low}") if self.above_low else _("{low} or more")
        elif self.above_low:
            words = _("above {low} and at most {high}")
        else:
            words = _("between {low} and {high}")
        words = words.format(low=low, high=high)
        return _("a whole number {range}").format(range=words) if self.kind == "whole" else words


def knob(off: Any, usual: Any = MISSING, *, label: str = "", **settings: Any) -> Any:
    """A field of a stage that a person can turn; see `Knob`. Its kind follows from the type of `off`."""
    kind = settings.pop("kind", {float: "number", int: "whole", str: "text"}[type(off)])
    made = Knob("", label, kind, off, off if usual is MISSING else usual, **settings)
    return field(default=off, metadata={"knob": made})


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One step between the logits and the distribution that a token is drawn from.

    A subclass is a frozen dataclass in a file of its own: it sets the class variables, has a `knob` for each setting
    and implements `apply`. Raises `UserError` for a knob outside its range.
    """

    NAME: ClassVar[str] = ""
    """Its name in a written sampler, such as `top_k=40`. A class without a name is no stage to be found."""
    TITLE: ClassVar[str] = ""
    """Its name for people."""
    SHORT: ClassVar[str] = ""
    """A title of a few letters, for the head of a column."""
    FORMULA: ClassVar[str] = ""
    SOURCE: ClassVar[str] = ""
    """The paper or program it comes from."""
    EXAMPLE: ClassVar[str] = ""
    """A written form to start from, for a stage that means nothing without a text of its own; else empty."""
    PLACE: ClassVar[float] = 0.0
    """Where it stands among other stages when it is added to a sampler: lower ones come first."""

    NEEDS_LOGITS: ClassVar[bool] = False
    """Whether it depends on where the zero of the logits lies, which a distribution does not tell."""

    on: bool = True
    """Whether it is switched on; a stage that is off keeps its place and its knobs."""

    def __post_init__(self) -> None:
        for each in self.knobs():
            title = _(self.TITLE) if each == self.knobs()[0] else f"{_(self.TITLE)}: {_(each.label)}"
            each.check(title, getattr(self, each.name))

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        """What is left of a selection of at least one token. Raises `UserError` if it cannot be computed."""
        raise NotImplementedError

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        """The same where the least likely tokens are known only as a sum: what holds whatever each of them has.

        Raises `NeedsMore` if the known tokens do not decide it. A stage without a rule of its own needs all of them.
        """
        raise selection.needs_all()

    @property
    def active(self) -> bool:
        """Whether it is switched on, and its first knob is not at the value that changes nothing."""
        first = self.knobs()[0]
        return self.on and bool(getattr(self, first.name) != first.off)

    # Knobs -----------------------------------------------------------------------------------------------------------

    @classmethod
    @cache
    def knobs(cls) -> tuple[Knob, ...]:
        """Its settings, the most important one first."""
        found = [(each.name, each.metadata["knob"]) for each in fields(cls) if "knob" in each.metadata]
        return tuple(replace(each, name=name, label=each.label or name.replace("_", " ")) for name, each in found)

    @classmethod
    def usual(cls) -> Self:
        """The stage with the values that people start from."""
        return cls(**{each.name: each.usual for each in cls.knobs()})

    def turned(self, number: int, by: int, vocab_size: int | None = None) -> Self:
        """The stage with knob `number` one step up (`by` 1) or down (-1); a knob that is a text stays.

        `vocab_size`: V, if it is known; a knob that counts tokens stays below it.
        """
        each = self.knobs()[number]
        if each.kind in ("text", "list"):
            return self
        return replace(self, **{each.name: each.turned(getattr(self, each.name), by, vocab_size)})

    # The written form ------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        """The written form that `read` understands, such as `xtc=0.5:0.1`, with `-` before it if it is off."""
        values = [(each, getattr(self, each.name)) for each in self.knobs()]
        while len(values) > 1 and values[-1][1] == values[-1][0].usual:
            values.pop()
        written = ":".join(syntax.written(value, each.kind) for each, value in values)
        return f"{'' if self.on else '-'}{self.NAME}={written}"

    @classmethod
    def read(cls, parts: Sequence[str], *, on: bool = True) -> Self:
        """The stage from the written values of its knobs; the usual ones for those that are missing."""
        knobs = cls.knobs()
        if len(parts) > len(knobs):
            raise UserError(
                _("{name} takes {form}, not {count} values"), name=cls.NAME, form=cls.form(), count=len(parts)
            )
        values = {each.name: each.usual for each in knobs}
        for each, part in zip(knobs, parts, strict=False):
            values[each.name] = syntax.value(part, each.kind, cls.form())
        return cls(on=on, **values)

    @classmethod
    def form(cls) -> str:
        """How it is written, such as `xtc=probability:threshold`."""
        return f"{cls.NAME}={':'.join(each.label.replace(' ', '_') for each in cls.knobs())}"


class MaskStage(Stage):
    """A stage that only says which tokens are allowed. A subclass implements `allowed`."""

    __slots__ = ()

    def allowed(self, context: "DrawContext") -> Any:
        """Which ids of the vocabulary may come next, [V] bool NumPy, from `context.ids` or `context.generated`."""
        raise NotImplementedError

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        return selection.keep(self.allowed(context)[selection.ids])

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        return selection.keep(self.allowed(context))

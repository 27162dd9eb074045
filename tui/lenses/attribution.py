"""Direct logit attribution: signed bars of what each part wrote towards a token and against another."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.text import Text

from core.language import N_, _
from tui.drawing.bars import signed_bar
from tui.drawing.parts import part_name
from tui.drawing.text import fit, label
from tui.lenses.base import ExperimentPage, KeyWords
from tui.runner import Frame

if TYPE_CHECKING:
    from core.lenses.attribution import Attribution, Part

NUMBER = 9
"""Cells of a value."""
WIDEST_NAME = 28
SHORTEST_BAR = 4
NORMALIZER = "minus log Σ exp of all logits"
SHORT = "−log Σ exp"
INNER = 8
"""Cells of the value of an attention or an MLP beside its block."""


class AttributionLens(ExperimentPage["Attribution"]):
    """One row for each part of a level of the model; `⏎` divides a part."""

    NAME = "attribution"
    TITLE = N_("attribution")
    DESCRIPTION = N_("What each part wrote towards one token and against another")
    ORDER = 40
    GROUP = N_("Why")
    ALSO = N_("direct logit attribution contribution heads neurons")
    KEYS = KeyWords(move=N_("part"), choose=N_("divide"), view=N_("order"), across=N_("level"))

    def __init__(self) -> None:
        super().__init__()
        self.part = ""
        """The level that is asked for, as `core.lenses.attribution` names it."""
        self.by_size = False
        self._from_heads = False
        """Whether the level above a head is that of all heads."""
        self._cursors: dict[str, int] = {}
        """By level, the row that was chosen there last."""

    def options(self) -> dict[str, Any]:
        return {"part": self.part}

    def show(self, frame: Frame) -> None:
        before = self.answer.path if self.answer else None
        super().show(frame)
        if self.answer and self.answer.path != before:
            self.cursor = min(self._cursors.get(self.answer.path, 0), self.choice_count() - 1)
            self.draw()

    # Keys ------------------------------------------------------------------------------------------------------------

    def choice_count(self) -> int:
        return len(self.answer.parts) if self.answer else 0

    def choose(self, number: int | None = None) -> None:
        parts = self._parts()
        at = self.cursor if number is None else number - 1
        if at < len(parts):
            self.cursor = at
            self._divide(parts[at].path)

    def _divide(self, path: str) -> None:
        if self.answer and path:
            self._cursors[self.answer.path] = self.cursor
            self._go(path)

    def _go(self, path: str) -> None:
        self.part, self._from_heads = path, self._from_heads and bool(path)
        self.ask_again()
        self.draw()

    def adjust(self, down: int, across: int) -> None:
        """Left: the level above; right: as `⏎`; down and up: the next block, head or expert at the same level."""
        names = self.part.split(".") if self.part else []
        if across > 0:
            self.choose()
        elif across and names:
            self._go("heads" if self._from_heads and len(names) == 3 else ".".join(names[:-1]))
        elif down and names:
            at = 0 if len(names) < 3 else 2
            if names[at].isdecimal() and int(names[at]) + down >= 0:
                names[at] = str(int(names[at]) + down)
                self._go(".".join(names))

    def switch_view(self) -> None:
        """In the order of the model, by size, and of the whole model also the heads of all blocks by size."""
        self.cursor = 0
        if self.part in ("", "heads") and self.by_size:
            self._from_heads = self.by_size = self.part == ""
            self._go("heads" if self._from_heads else "")
        else:
            self.by_size = not self.by_size
            self.draw()

    def _parts(self) -> tuple["Part", ...]:
        """The parts in the order in which they are shown."""
        parts = self.answer.parts if self.answer else ()
        return tuple(sorted(parts, key=lambda part: (part.merged > 0, -abs(part.value)))) if self.by_size else parts

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        up = _("⇧← up · ") if self.part else ""
        order = _("by size") if not self.by_size else _("heads") if not self.part else _("in order")
        divide = _("⏎ divide · ") if any(part.path for part in self._parts()) else ""
        self.hint(f"{up}{divide}o {order}" if self.answer else "")
        super().draw()

    def lines(self, answer: "Attribution", width: int, height: int) -> Iterator[Text]:
        yield self.why(answer, width)
        sums = self._sum(answer, width)
        yield from sums
        yield Text()
        parts = self._parts()
        names = [_part_name(part) for part in parts]
        inner = any(part.inner for part in parts) and width >= 60
        room = width - NUMBER - 4 - (2 * INNER + 2) * inner - 2 * SHORTEST_BAR
        name = min(WIDEST_NAME, room, max(map(cell_len, names), default=0))
        bar = max(3, min(40, (width - name - NUMBER - 4 - (2 * INNER + 2) * inner) // 2))
        scale = max((abs(part.value) for part in parts if _is_compared(part)), default=0.0) or 1.0
        yield self._head(answer, name, bar, inner)
        at = min(self.cursor, len(parts) - 1)
        for number in self.visible_rows(len(parts), max(0, at), max(3, height - 3 - len(sums))):
            row = self._row(parts[number], fit(names[number], name), number == at, scale, bar, inner, width)
            yield self.target(number, row)

    def _sum(self, answer: "Attribution", width: int) -> list[Text]:
        if answer.path in ("", "heads"):
            which = _("all heads and the rest") if answer.path else _("the parts")
            words = _("{which} sum to {total:+.4f}, the logits give {value:+.4f}").format(
                which=which, total=answer.total, value=answer.value
            )
        else:
            words = _("{level}: its parts sum to {total:+.4f}, its value is {value:+.4f}").format(
                level=part_name(answer.level), total=answer.total, value=answer.value
            )
        if normalizer := next((part for part in answer.parts if part.name == NORMALIZER), None):
            return self.at_both_ends(width, (words, "muted"), (f"{SHORT} {normalizer.value:+.2f}", "muted"))
        return self.folded(width, (words, "muted"))

    def _head(self, answer: "Attribution", name: int, bar: int, inner: bool) -> Text:
        against, towards = fit(_("◂ against"), bar), fit(_("towards ▸").rjust(bar), bar)
        columns = f"{_('attention'):>{INNER + 2}}{'mlp':>{INNER}}" if inner else ""
        axis = " " if bar < 9 else "┬"
        return self.text(
            (
                f"  {fit('', name)} {against if bar >= 9 else ' ' * bar}{axis}{towards if bar >= 9 else ' ' * bar}",
                "head",
            ),
            (f"{_('value'):>{NUMBER}}{columns}", "head"),
        )

    def _row(self, part: "Part", name: str, chosen: bool, scale: float, bar: int, inner: bool, width: int) -> Text:
        left, right = signed_bar(part.value / scale, bar)
        parts = [
            ("▸ " if part.path and chosen else "› " if chosen else "  ", "text"),
            (f"{name} ", "text" if chosen else "muted"),
            (left, "below"),
            ("│", "faint"),
            (right, "above"),
            (f"{part.value:>+{NUMBER}.3f}", "text"),
        ]
        if inner:
            values = {each.name: each.value for each in part.inner}
            for column, cells in (("attention", INNER + 2), ("mlp", INNER)):
                shown = f"{values[column]:+.2f}" if column in values else ""
                parts.append((f"{shown:>{cells}}", "muted"))
        return self.row(chosen, width, *parts)


def _is_compared(part: "Part") -> bool:
    """Whether a part is one that the model wrote. Others can be far larger: their bars are cut, and end in an arrow."""
    return not part.merged and part.name != NORMALIZER


def _part_name(part: "Part") -> str:
    if part.name == NORMALIZER:
        return SHORT
    return f"{part.name:>4} {label(part.piece)}" if part.piece is not None else part_name(part.name)

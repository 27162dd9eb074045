"""A lens with a heat map: a cursor that goes along rows and columns, and the map as lines of a page."""

from collections.abc import Iterator
from typing import ClassVar, TypeVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from core.language import _
from tui.drawing.heat_map import NUMBERED, HeatMap, cell, cell_width, labels, legend, marked, window
from tui.drawing.text import fit
from tui.lenses.base.page import COLUMN, TINTS, LensPage
from tui.themes import clearer

Answer = TypeVar("Answer")
LOW, TALL = 4, 8
"""Lines of column labels at most, in a panel of less than `TALL_PANEL` lines and in a taller one."""
TALL_PANEL = 32
EVERYTHING = 1000
"""Cells for all words that a cell has."""
ROW_LABEL = 14
"""Cells of a row's label at most."""


class HeatMapPage(LensPage[Answer]):
    """A lens page with a map. `↑ ↓` move the cursor along rows (`cursor`), `shift` with arrows along both (`column`).

    A subclass implements `heat_map` and yields `map_lines` among its `lines`.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"lens--above", "lens--below"}

    def __init__(self) -> None:
        super().__init__()
        self.column = 0
        """The column under the cursor."""
        self._first_column = 0
        self._signed_tints: dict[int, Style] = {}

    def heat_map(self) -> HeatMap | None:
        """The map of the present answer; None where there is none."""
        raise NotImplementedError

    def at_cursor(self, answer: Answer) -> str:
        """The cell under the cursor, its numbers and what they say, in words."""
        raise NotImplementedError

    def choice_count(self) -> int:
        drawn = self.heat_map()
        return len(drawn.rows) if drawn else 0

    def adjust(self, down: int, across: int) -> None:
        if drawn := self.heat_map():
            self.cursor = max(0, min(self.cursor + down, len(drawn.rows) - 1))
            self.column = max(0, min(self.column + across, len(drawn.columns) - 1))
            self.draw()

    def cell_at_cursor(self) -> tuple[int, int]:
        drawn = self.heat_map()
        return super().cell_at_cursor()[0], max(0, min(self.column, len(drawn.columns) - 1)) if drawn else 0

    def notify_style_update(self) -> None:
        self._signed_tints = {}
        super().notify_style_update()

    # Painting --------------------------------------------------------------------------------------------------------

    def map_lines(self, drawn: HeatMap, width: int, height: int) -> Iterator[Text]:
        """A map in `height` lines of `width` cells: labels of columns, rows, and the legend as the last line."""
        row_at, column_at = min(self.cursor, len(drawn.rows) - 1), min(self.column, len(drawn.columns) - 1)
        left = min(ROW_LABEL, max(map(cell_len, drawn.rows), default=0)) + 2
        across = cell_width(len(drawn.columns), width - left, drawn.narrowest, drawn.widest)
        columns = window(len(drawn.columns), max(0, column_at), (width - left) // across, self._first_column)
        self._first_column = columns.start
        head = labels([drawn.columns[n] for n in columns], across, TALL if height >= TALL_PANEL else LOW)
        for words in head:
            yield self._label_line(words, across, column_at - columns.start, left)
        strongest = drawn.strongest
        rows = self.visible_rows(len(drawn.rows), max(0, row_at), max(3, height - len(head) - 1))
        for number in rows:
            here = number == row_at
            line = self.text(
                ("›" if here else " ", "text"), (fit(drawn.rows[number], left - 2) + " ", "text" if here else "muted")
            )
            for column in columns:
                shown = cell(drawn.at(number, column), strongest, across, drawn.text_at(number, column))
                before = len(line)
                self._add_cell(line, shown, drawn.at(number, column), strongest, across, here and column == column_at)
                line.stylize(Style(meta={COLUMN: column}), before)
            yield self.target(number, line)
        yield self._legend(drawn, left, len(rows) < len(drawn.rows), len(columns) < len(drawn.columns))

    def _label_line(self, line: str, across: int, at: int, left: int) -> Text:
        """A line of labels; that of the cursor's column is marked."""
        text = self.text((" " * left, "faint"), (line, "muted"))
        start = next((n for n in range(len(line)) if cell_len(line[:n]) >= at * across), len(line)) + left
        end = next((n for n in range(len(line)) if cell_len(line[:n]) >= (at + 1) * across), len(line)) + left
        text.stylize(self.style_of("lens--hot") + Style(bold=True), start, end)
        return text

    def _add_cell(self, line: Text, shown: str, value: float | None, strongest: float, across: int, here: bool) -> None:
        if here:
            ink, ground = self.get_component_styles("lens--text").color, self.background_colors[1]
            line.append(marked(shown), Style(color=ground.rich_color, bgcolor=ink.rich_color, bold=True))
        elif value is None:
            line.append(shown, self.style_of("lens--faint"))
        else:
            line.append(shown, self.signed_tint(value / strongest, across >= NUMBERED))

    def _legend(self, drawn: HeatMap, left: int, more_rows: bool, more_columns: bool) -> Text:
        line = self.text((" " * left, "faint"))
        for words, share in legend(drawn.strongest, drawn.signed):
            line.append(words, self.signed_tint(share, False) if share else self.style_of("lens--muted"))
        if any(value is None for row in drawn.values for value in row):
            line.append_text(self.text((_("   · not yet"), "faint")))
        more = [
            words for words, hidden in ((_("↑↓ more rows"), more_rows), (_("⇧←→ more columns"), more_columns)) if hidden
        ]
        if more:
            line.append_text(self.text((f"   {' · '.join(more)}", "faint")))
        return line

    def signed_tint(self, share: float, readable: bool = True) -> Style:
        """A background for a share from -1 to 1: orange above zero, blue below it, stronger for a larger size.

        The text is readable on it, or where it is made of glyphs, has the color itself.
        """
        level = round(TINTS * max(-1.0, min(share, 1.0)))
        key = 2 * level + readable
        if key not in self._signed_tints:
            ground = self.background_colors[1]
            hue = self.get_component_styles(f"lens--{'below' if level < 0 else 'above'}").color
            ink = self.get_component_styles("lens--text").color
            tint = self.tinted(hue, (0.9 if readable else 0.5) * abs(level) / TINTS)
            front = (clearer(ink, ground, on=tint) if readable or self.projected else hue).rich_color
            self._signed_tints[key] = Style(
                color=front if level else self.style_of("lens--faint").color, bgcolor=tint.rich_color
            )
        return self._signed_tints[key]

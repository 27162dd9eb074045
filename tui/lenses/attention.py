"""The attention pattern: one head as a map from position to position, or all heads of all layers in brief."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from core.language import N_, _
from core.lenses import lens
from tui.drawing.bars import columns, hundredths, scale_for, shade
from tui.drawing.heat_map import NUMBERED, labels, window
from tui.drawing.text import fit, label, within
from tui.drawing.thumbnails import GAP, shape_for, thumbnail
from tui.lenses.base import COLUMN, ROW, KeyWords, LensPage
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.lenses.attention import AttentionView, HeadSummary
    from core.walk.session import Session

LABEL = 11
"""Cells for the token of a row, its mark and the gap after it."""
CHART = 3
"""Lines of the column chart over the map."""
ABOVE = CHART + 2
"""All lines over the map, without the heads of its columns."""
ABOVE_GRID = 2
"""Lines over the pictures of all heads."""
PIXELS = 32
"""Height and width of these pictures in pixels."""
MARKED = 12
"""Cells of a picture from which on there is more over it than the number of the head."""
NARROWEST = 2
"""Width of a map cell at least: with more positions than that has room for, the map shows those around the cursor."""
HEADS = ((32, 8), (20, 5), (0, 3))
"""From how many lines of the panel on the tokens over the columns have how many lines."""
WIDEST = 8
"""Width of a map cell at most."""


class AttentionLens(LensPage["AttentionView"]):
    """Rows are the attending positions (queries), columns the attended ones (keys). Later positions are masked."""

    NAME = "attention"
    TITLE = N_("attention")
    DESCRIPTION = N_("The attention pattern of one head, and all heads in brief")
    ORDER = 12
    GROUP = N_("Inside")
    ALSO = N_("heads pattern weights")
    KEYS = KeyWords(move=N_("row"), view=N_("all heads"), down=N_("layer"), across=N_("head"))
    GRID_KEYS = KeyWords(
        move=N_("layer"), choose=N_("pattern"), view=N_("one head"), down=N_("layer"), across=N_("head")
    )

    def __init__(self) -> None:
        super().__init__()
        self.chosen_layer = self.chosen_head = 0
        """The layer and head that are asked for."""
        self.all_heads = False
        """Whether all heads are shown as pictures."""
        self._first_column = 0

    def new_question(self) -> Question:
        layer, head, size = self.chosen_layer, self.chosen_head, PIXELS * self.all_heads

        def attention(session: "Session") -> Any:
            config = session.model.transformer.config
            existing = min(layer, max(0, config.blocks - 1)), min(head, config.heads - 1)
            return lens("attention")(session.current_step(), *existing, size=size)

        return Question(attention)

    def show(self, frame: Frame) -> None:
        before = self.answer
        super().show(frame)
        if self.answer and self.answer is not before and self.answer.pattern:
            same = before is not None and before.pieces == self.answer.pieces and bool(before.pattern)
            if not same:
                self.cursor = len(self.answer.pattern) - 1
            self.chosen_layer = min(self.chosen_layer, len(self.answer.heads) - 1)
            self.chosen_head = min(self.chosen_head, len(self.answer.heads[0]) - 1)
            self.draw()

    def looked_at(self) -> dict[str, int | str]:
        return {"block": self.chosen_layer, "head": self.chosen_head}

    def look_at(self, layer: int, head: int) -> None:
        """Show the pattern of a head."""
        self.chosen_layer, self.chosen_head, self.all_heads = layer, head, False
        self.ask_again()
        self.draw()

    def choice_count(self) -> int:
        return len(self.answer.pattern) if self.answer else 0

    def move(self, by: int) -> None:
        if self.all_heads:
            self.adjust(by, 0)
        else:
            super().move(by)

    def choose(self, number: int | None = None) -> None:
        if self.all_heads:
            self.switch_view()

    def switch_view(self) -> None:
        self.all_heads = not self.all_heads
        self._first_row = self._first_column = 0
        self.ask_again()
        self.draw()

    def keys(self) -> KeyWords:
        return self.GRID_KEYS if self.all_heads else self.KEYS

    def cell_at_cursor(self) -> tuple[int, int]:
        return (self.chosen_layer, self.chosen_head) if self.all_heads else super().cell_at_cursor()

    def point(self, down: int, across: int = 0) -> None:
        """A click on the picture of a head opens it; on a row of the map it chooses the row."""
        self.pointed = self.all_heads and not down and not across
        super().point(down, across)
        if self.all_heads:
            self.host.do("lens.choose")

    def adjust(self, down: int, across: int) -> None:
        if self.answer:
            layers, heads = len(self.answer.heads), len(self.answer.heads[0])
            layer, head = (
                max(0, min(self.chosen_layer + down, layers - 1)),
                max(0, min(self.chosen_head + across, heads - 1)),
            )
            if (layer, head) != (self.chosen_layer, self.chosen_head):
                self.chosen_layer, self.chosen_head = layer, head
                if not self.all_heads:  # what is said of a head beside its picture is known for all heads
                    self.ask_again()
                self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def title_detail(self) -> str:
        return (
            _("layer {layer} · head {head}").format(layer=self.chosen_layer, head=self.chosen_head)
            if self.answer
            else ""
        )

    def draw(self) -> None:
        if self.answer:
            other = _("⏎ pattern") if self.all_heads else _("↑↓ row · o all heads")
            self.hint(_("⇧↑↓ layer · ⇧←→ head · {other}").format(other=other))
        else:
            self.hint("")
        super().draw()

    def lines(self, answer: "AttentionView", width: int, height: int) -> Iterator[Text]:
        yield from self._grid(answer, width, height) if self.all_heads else self._map(answer, width, height)

    # One head as a map

    def _map(self, answer: "AttentionView", width: int, height: int) -> Iterator[Text]:
        pattern, before = answer.pattern, answer.before
        if not pattern:  # the row of the last position is computed before the others
            pattern, before = (answer.row[answer.start :],), (sum(answer.row[: answer.start]),)
        at = min(self.cursor, len(pattern) - 1) if answer.pattern else 0
        query = answer.start + at if answer.pattern else len(answer.pieces) - 1
        across, room = len(answer.pieces) - answer.start, width - LABEL
        cell = max(NARROWEST, min(WIDEST, room // across))
        columns = window(across, query - answer.start, room // cell, self._first_column)
        self._first_column = columns.start
        pieces = [answer.pieces[answer.start + column] for column in columns]
        weights = pattern[at][columns.start : columns.stop]
        not_shown = before[at] + sum(pattern[at][: columns.start])

        yield self._strongest(label(answer.pieces[query]), pieces, weights, not_shown, width)
        exact = _("softmax(q kᵀ/√c) v and SDPA differ by at most {difference:.1e}").format(difference=answer.difference)
        part = _("   {count} of {total:,} positions").format(count=len(columns), total=len(answer.pieces))
        part = part if len(columns) < len(answer.pieces) else ""
        yield self.text((exact, "faint"), (fit(part, max(0, width - len(exact))), "faint"))
        yield from self._columns(weights, len(columns), cell)
        heads = labels([label(piece) for piece in pieces], cell, next(n for least, n in HEADS if height >= least))
        for line in heads:
            yield self.text((" " * LABEL, "faint"), (line, "muted"))
        if not answer.pattern:
            yield self.text((f"{'…':>{LABEL - 2}}", "faint"))
            return
        for number in self.visible_rows(len(pattern), at, max(3, height - ABOVE - len(heads))):
            shown = pattern[number][columns.start : columns.stop]
            name = label(answer.pieces[answer.start + number])
            yield self.target(number, self._row(name, shown, len(columns), cell, number == at))

    def _strongest(
        self, query: str, pieces: Sequence[bytes], weights: Sequence[float], not_shown: float, width: int
    ) -> Text:
        """The positions with the largest weights; `not_shown` is the weight on positions left of the map."""
        best = sorted(range(len(weights)), key=lambda n: -weights[n])[:4]
        line = self.text((within(query, 14), "text"), (_(" attends to"), "muted"))
        parts = [(label(pieces[n]), weights[n]) for n in best]
        if not_shown >= 0.005:
            parts.insert(0, (_("earlier, not shown"), not_shown))
        for words, weight in parts:
            name = within(words, 20)
            if line.cell_len + len(name) + 8 > width:
                break
            line.append_text(self.text((f"  {name} ", "text"), (hundredths(weight), "bar")))
        return line

    def _columns(self, weights: Sequence[float], count: int, cell: int) -> Iterator[Text]:
        scale = scale_for(max(weights, default=1.0))
        drawn = columns([weight / scale for weight in weights], CHART)
        for number, line in enumerate(drawn):
            mark = f"{scale:g}" if not number else "0" if number == CHART - 1 else ""
            body = "".join(f" {c * (cell - 1)}" if cell >= NUMBERED else f"{c * (cell - 1)} " for c in line)
            yield self.text((f"{mark:>{LABEL - 2}} ", "faint"), ("┤" if mark else "│", "faint"), (body, "bar"))

    def _row(self, name: str, weights: Sequence[float], count: int, cell: int, chosen: bool) -> Text:
        line = self.text(("›" if chosen else " ", "text"), (fit(name, LABEL - 2), "text" if chosen else "muted"))
        line.append(" ")
        if cell >= NUMBERED:
            for weight in weights:
                line.append(f"{hundredths(weight):>{cell}}", self.tint(weight))
        else:
            line.append("".join(shade(weight) * cell for weight in weights), self._shaded())
        masked = "·".rjust(cell) if cell >= NUMBERED else "·".ljust(cell)
        line.append(masked * (count - len(weights)), self.style_of("lens--faint"))
        return line

    def _shaded(self) -> Style:
        """The style of shades; their background tells visible positions from masked ones."""
        return self.style_of("lens--bar") + Style(bgcolor=self.tint(0).bgcolor)

    # All heads as pictures

    def _grid(self, answer: "AttentionView", width: int, height: int) -> Iterator[Text]:
        layers, heads = len(answer.heads), len(answer.heads[0])
        layer, head = min(self.chosen_layer, layers - 1), min(self.chosen_head, heads - 1)
        summary = self.summary(answer, answer.heads[layer][head], width)
        yield from summary
        height -= len(summary) - 1
        shown = len(answer.pieces) - answer.start
        across, down = shape_for(layers, heads, width, height - ABOVE_GRID)
        yield self.text((fit(_about(shown, across >= MARKED, width), width).rstrip(), "faint"))
        columns = window(heads, head, width // (across + GAP), self._first_column)
        self._first_column = columns.start
        for number in self.visible_rows(layers, layer, max(1, (height - ABOVE_GRID) // (down + 1))):
            yield self._joined(number, columns, across, [self._over(answer, number, at, across) for at in columns])
            for line in range(down):
                parts = [self._line(answer, number, at, line, (across, down)) for at in columns]
                yield self._joined(number, columns, across, parts)

    def summary(self, answer: "AttentionView", here: "HeadSummary", width: int) -> list[Text]:
        """Where the last position looks in the chosen head."""
        return self.folded(
            width,
            (_("attends most to "), "muted"),
            (within(label(answer.pieces[here.peak]), 16), "text"),
            (f" {hundredths(here.peak_weight)}", "bar"),
            (
                _("   first {first}   itself {own}").format(first=hundredths(here.first), own=hundredths(here.own)),
                "muted",
            ),
            (_("   H {bits:.2f} bits").format(bits=here.entropy_bits), "muted"),
        )

    def _joined(self, layer: int, heads: Sequence[int], across: int, parts: Sequence[tuple[str, str | Style]]) -> Text:
        """A line through the pictures of a layer; a click on a part of it means that head."""
        line = Text()
        for head, (words, style) in zip(heads, parts, strict=True):
            drawn = self.text((fit(words, across), style), (" " * GAP, "text"))
            drawn.stylize(Style(meta={ROW: layer, COLUMN: head}))
            line.append_text(drawn)
        return line

    def _over(self, answer: "AttentionView", layer: int, head: int, across: int) -> tuple[str, str]:
        """The number of a head; where there is room its largest weight, `⇤` on the first position, `•` on itself."""
        chosen, summary = (layer, head) == (self.chosen_layer, self.chosen_head), answer.heads[layer][head]
        mark = "⇤" if not summary.peak else "•" if summary.peak == len(answer.pieces) - 1 else " "
        words = f"{'›' if chosen else ''}{layer}.{head}"
        if across >= MARKED:
            words = fit(words, across - 5) + f" {hundredths(summary.peak_weight)}{mark}"
        return words, "hot" if chosen else "muted"

    def _line(
        self, answer: "AttentionView", layer: int, head: int, line: int, shape: tuple[int, int]
    ) -> tuple[str, str | Style]:
        """A line of the picture of a head."""
        if not answer.pictures:
            return "" if line else "…", "faint"
        ink = self.style_of("lens--hot" if (layer, head) == (self.chosen_layer, self.chosen_head) else "lens--bar")
        return thumbnail(answer.pictures[layer][head], *shape)[line], ink + Style(bgcolor=self.tint(0).bgcolor)


def _about(count: int, marked: bool, width: int) -> str:
    """What the pictures show and, where there are `marked` numbers over them, what the marks mean; whole parts only."""
    parts = [_("• most on itself · ⇤ on the first")] if marked else []
    parts += [_("last {count} positions").format(count=count), _("dots: strong weights")]
    while len(parts) > 1 and cell_len(" · ".join(parts)) > width:
        parts.pop()
    return " · ".join(parts)

"""The attention pattern: one head as a map from position to position, or all heads of all layers in brief."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.style import Style
from rich.text import Text
from textual.content import Content

from core.lenses import lens
from tui.drawing.bars import columns, hundredths, scale_for, shade
from tui.drawing.text import fit, label, within
from tui.lenses.base import LensPage
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.lenses.attention import AttentionView, HeadSummary
    from core.walk.session import Session

LABEL = 11
"""Cells for the token of a row, its mark and the gap after it."""
CHART = 3
"""Lines of the column chart over the map."""
ABOVE = CHART + 4
"""All lines over the map."""
NUMBERED = 4
"""Width of a map cell from which its weight is written as a number; narrower ones are shaded."""
WIDEST = 8
"""Width of a map cell at most."""


class AttentionLens(LensPage["AttentionView"]):
    """Rows are the attending positions (queries), columns the attended ones (keys). Later positions are masked."""

    NAME = "attention"
    TITLE = "attention"
    DESCRIPTION = "The attention pattern of one head, and all heads of all layers in brief"
    ORDER = 12
    GROUP = "Inside"
    ALSO = "heads pattern weights"

    def __init__(self) -> None:
        super().__init__()
        self.chosen_layer = self.chosen_head = 0
        """The layer and head that are asked for."""
        self.all_heads = False
        """Whether all heads are shown in brief."""

    def new_question(self) -> Question:
        layer, head = self.chosen_layer, self.chosen_head

        def attention(session: "Session") -> Any:
            config = session.model.transformer.config
            existing = min(layer, max(0, config.blocks - 1)), min(head, config.heads - 1)
            return lens("attention")(session.current_step(), *existing)

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
        self._first_row = 0
        self.draw()

    def adjust(self, down: int, across: int) -> None:
        if self.answer:
            layers, heads = len(self.answer.heads), len(self.answer.heads[0])
            layer, head = (
                max(0, min(self.chosen_layer + down, layers - 1)),
                max(0, min(self.chosen_head + across, heads - 1)),
            )
            if (layer, head) != (self.chosen_layer, self.chosen_head):
                self.chosen_layer, self.chosen_head = layer, head
                self.ask_again()
                self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def title_detail(self) -> str:
        return f"layer {self.chosen_layer} · head {self.chosen_head}" if self.answer else ""

    def draw(self) -> None:
        if self.answer:
            other = "⏎ its pattern" if self.all_heads else "↑↓ row · o all heads"
            self.border_subtitle = Content(f"⇧↑↓ layer · ⇧←→ head · {other}")
        else:
            self.border_subtitle = Content("")
        super().draw()

    def lines(self, answer: "AttentionView", width: int, height: int) -> Iterator[Text]:
        yield from self._grid(answer, width, height) if self.all_heads else self._map(answer, width, height)

    # One head as a map

    def _map(self, answer: "AttentionView", width: int, height: int) -> Iterator[Text]:
        pattern, before = answer.pattern, answer.before
        if not pattern:  # the row of the last position is computed before the others
            pattern, before = (answer.row[answer.start :],), (sum(answer.row[: answer.start]),)
        shown = len(answer.pieces) - answer.start
        count = min(shown, width - LABEL)
        start = len(answer.pieces) - count
        cut = shown - count
        cell = max(1, min(WIDEST, (width - LABEL) // count))
        at = min(self.cursor, len(pattern) - 1) if answer.pattern else 0
        weights = pattern[at][cut:]
        not_shown = before[at] + sum(pattern[at][:cut])

        query = label(answer.pieces[answer.start + at if answer.pattern else -1])
        yield self._strongest(query, answer.pieces[start:], weights, not_shown, width)
        exact = f"softmax(q kᵀ/√c) v and SDPA differ by at most {answer.difference:.1e}"
        last = f"   the last {count} of {len(answer.pieces):,} positions" if start else ""
        yield self.text((exact, "faint"), (fit(last, max(0, width - len(exact))), "faint"))
        yield Text()
        yield from self._columns(weights, count, cell)
        yield self._names(answer.pieces[start:], start, cell)
        if not answer.pattern:
            yield self.text((f"{'…':>{LABEL - 2}}", "faint"))
            return
        rows = self.visible_rows(len(pattern), at, max(3, height - ABOVE))
        for number in rows:
            yield self._row(
                label(answer.pieces[answer.start + number]), pattern[number][cut:], count, cell, number == at
            )

    def _strongest(
        self, query: str, pieces: Sequence[bytes], weights: Sequence[float], not_shown: float, width: int
    ) -> Text:
        """The positions with the largest weights; `not_shown` is the weight on positions left of the map."""
        best = sorted(range(len(weights)), key=lambda n: -weights[n])[:4]
        line = self.text((within(query, 14), "text"), (" attends to", "muted"))
        parts = [(label(pieces[n]), weights[n]) for n in best]
        if not_shown >= 0.005:
            parts.insert(0, ("earlier, not shown", not_shown))
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
            body = "".join(c * max(1, cell - 1) + " " * (cell > 1) for c in line)
            yield self.text((f"{mark:>{LABEL - 2}} ", "faint"), ("┤" if mark else "│", "faint"), (body, "bar"))

    def _names(self, pieces: Sequence[bytes], start: int, cell: int) -> Text:
        """The tokens over their columns, or position numbers where there is no room."""
        if cell >= 3:
            body = "".join(fit(label(piece), cell - 1) + " " for piece in pieces)
        else:
            body, step = "", 10 if cell == 1 else 5
            for number in range(len(pieces)):
                if (start + number) % step == 0 and len(body) <= number * cell:
                    body = body.ljust(number * cell) + f"{start + number}"
        return self.text((" " * LABEL, "faint"), (body, "muted"))

    def _row(self, name: str, weights: Sequence[float], count: int, cell: int, chosen: bool) -> Text:
        line = self.text(("›" if chosen else " ", "text"), (fit(name, LABEL - 2), "text" if chosen else "muted"))
        line.append(" ")
        gap = " " if cell > NUMBERED else ""
        if cell >= NUMBERED:
            for weight in weights:
                line.append(f"{hundredths(weight):>{cell - len(gap)}}{gap}", self.tint(weight))
        else:
            line.append("".join(shade(weight) * cell for weight in weights), self._shaded())
        line.append(("·".rjust(cell - len(gap)) + gap) * (count - len(weights)), self.style_of("lens--faint"))
        return line

    def _shaded(self) -> Style:
        """The style of shades; their background tells visible positions from masked ones."""
        return self.style_of("lens--bar") + Style(bgcolor=self.tint(0).bgcolor)

    # All heads in a grid

    def _grid(self, answer: "AttentionView", width: int, height: int) -> Iterator[Text]:
        layer, head = min(self.chosen_layer, len(answer.heads) - 1), min(self.chosen_head, len(answer.heads[0]) - 1)
        here = answer.heads[layer][head]
        most = label(answer.pieces[here.peak])
        yield self.text(
            ("attends most to ", "muted"),
            (within(most, 16), "text"),
            (f" {hundredths(here.peak_weight)}", "bar"),
            (f"   first {hundredths(here.first)}   itself {hundredths(here.own)}", "muted"),
            (f"   H {here.entropy_bits:.2f} bits", "muted"),
        )
        yield self.text(("largest weight of the last position: ⇤ on the first, • on itself", "faint"))
        yield Text()
        cell = max(1, min(7, (width - 4) // len(answer.heads[0])))
        if cell >= 3:
            names = "".join(f"{number:>{min(cell - 1, 4)}}".ljust(cell) for number in range(len(answer.heads[0])))
        else:
            names = "heads"
        yield self.text(("    ", "faint"), (names, "faint"))
        for number in self.visible_rows(len(answer.heads), layer, max(3, height - 4)):
            heads = answer.heads[number]
            line = self.text((f"{number:>3} ", "text" if number == layer else "faint"))
            for column, summary in enumerate(heads):
                chosen = (number, column) == (layer, head)
                self._add_head(line, summary, cell, len(answer.pieces) - 1, chosen)
            yield line

    def _add_head(self, line: Text, head: "HeadSummary", cell: int, last: int, chosen: bool) -> None:
        """Append one head, as a cell of the grid."""
        if cell < 5:
            line.append("◆" if chosen else shade(head.peak_weight), self._shaded())
            line.append(shade(head.peak_weight) * (cell - 1), self._shaded())
            return
        mark = "⇤" if not head.peak else "•" if head.peak == last else " "
        ground = self.tint(head.peak_weight)
        if chosen:
            ground += self.style_of("lens--cursor").without_color
        line.append(f"{'›' if chosen else ' '}{hundredths(head.peak_weight)}{mark}", ground)
        line.append(" " * (cell - 5))

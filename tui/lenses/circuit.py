"""A circuit: the strongest edges between heads and MLPs, as a list and as a graph, and how much of the measure they
carry."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from rich.cells import cell_len
from rich.text import Text

from core.language import N_, _
from tui.drawing.bars import signed_bar
from tui.drawing.edges import by_receiver, grid
from tui.drawing.parts import part_name
from tui.drawing.text import label, percent, signed, within
from tui.lenses.base import AnswerCache, ExperimentPage, KeyWords
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.activations.patch import Patch
    from core.lenses.circuit import Circuit, Edge, Faithfulness

HEIGHTS = "▁▂▃▄▅▆▇█"
COLUMN = 6
"""Cells of a number of edges in the curve."""
FIRST = 10
"""Edges that are kept at first."""
RANK, NODE, NUMBER, WIDEST = 4, 10, 8, 40
GRID_FROM = 110
"""Cells of a panel from which on the grid of all heads stands beside the graph."""


class CircuitLens(ExperimentPage["Circuit"]):
    """The k strongest edges; `⏎` keeps only their heads and MLPs in the running walk."""

    NAME = "circuit"
    TITLE = N_("circuit")
    DESCRIPTION = N_("Edges between heads and MLPs that carry the difference")
    ORDER = 46
    GROUP = N_("Why")
    ALSO = N_("edges eap circuits path")
    KEYS = KeyWords(move=N_("edge"), choose=N_("keep only"), view=N_("graph"), down=N_("method"), across=N_("edges"))

    def __init__(self) -> None:
        super().__init__()
        self.method = "eap-ig"
        self.count = FIRST
        """Edges that are kept, k: one of those of the curve."""
        self.graph = False
        self._before: tuple[Patch, ...] = ()
        """The patches of the walk, such as steering, when `⏎` reduced it."""
        self._kept: tuple[Patch, ...] = ()
        """Those and the ones that `⏎` installed."""
        self._answers = AnswerCache()

    def options(self) -> dict[str, Any]:
        return {"method": self.method}

    def new_question(self) -> Question:
        """While the walk is reduced to the circuit, the answer of the whole model stays."""
        before, kept, method, ask = self._before, self._kept, self.method, super().new_question().ask

        def computed(session: Any) -> Iterator[object]:
            patches = before if kept and session.patches == kept else session.patches
            ids = tuple(session.history.ids[: session.cursor])
            key = (ids, session.current_question(), patches, session.info, method)
            return self._answers.answers(key, lambda: cast(Iterator[object], ask(session)))

        return Question(computed)

    def show(self, frame: Frame) -> None:
        before = self._patched_walk()
        super().show(frame)
        if self._patched_walk() != before:
            self.draw()

    # Keys ------------------------------------------------------------------------------------------------------------

    def choice_count(self) -> int:
        return 0 if self.graph or not self.answer else min(self.count, len(self.answer.edges))

    def choose(self, number: int | None = None) -> None:
        """Keep only the heads and MLPs of the circuit, or take that off again."""
        if self._reduced:
            self._kept = ()
            self._patch(self._before)
        elif self.answer and (point := self._point(self.answer)):
            from core.lenses.circuit import patches_outside  # noqa: PLC0415

            self._before = self.frame.snapshot.patches if self.frame.snapshot else ()
            self._kept = (*self._before, *patches_outside(self.answer, point))
            self._patch(self._kept)

    def keys(self) -> KeyWords:
        return replace(self.KEYS, choose=N_("whole model")) if self._reduced else self.KEYS

    def _patch(self, patches: "tuple[Patch, ...]") -> None:
        self.host.act(lambda session: session.patch(patches))
        self.ask_again()

    def adjust(self, down: int, across: int) -> None:
        """Left and right: fewer or more edges; up and down: the other method."""
        if down:
            self.method = "eap" if self.method == "eap-ig" else "eap-ig"
            self.ask_again()
        elif self.answer:
            counts = self._counts(self.answer)
            at = counts.index(min(counts, key=lambda count: abs(count - self.count)))
            self.count = counts[max(0, min(at + across, len(counts) - 1))]
        self.draw()

    def switch_view(self) -> None:
        self.graph = not self.graph
        self.draw()

    @property
    def _reduced(self) -> bool:
        """Whether the walk runs with the patches that `⏎` installed."""
        snapshot = self.frame.snapshot
        return bool(self._kept) and snapshot is not None and snapshot.patches == self._kept

    def _patched_walk(self) -> str:
        """What the question measures in the reduced walk, where it is known."""
        measured = self.frame.snapshot.measured if self._reduced and self.frame.snapshot else None
        return _(" · patched {value}").format(value=signed(measured.value, 2)) if measured else ""

    def _counts(self, answer: "Circuit") -> list[int]:
        return lens_counts(answer.total)

    def _point(self, answer: "Circuit") -> "Faithfulness | None":
        """The faithfulness of the k edges; None until it is computed."""
        return next((point for point in answer.curve if point.edges == self.count), None)

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        other = _("list") if self.graph else _("graph")
        keep = _("⏎ whole model") if self._reduced else _("⏎ keep only")
        self.hint(
            _("⇧←→ edges · o {other} · ⇧↑↓ method · {keep}").format(other=other, keep=keep) if self.answer else ""
        )
        super().draw()

    def lines(self, answer: "Circuit", width: int, height: int) -> Iterator[Text]:
        counts = self._counts(answer)
        self.count = min(counts, key=lambda count: abs(count - self.count))
        patched = self._patched_walk()
        head = self.why(answer, max(0, width - len(patched)))
        yield head.append_text(self.text((patched, "bar")))
        facts = list(self.facts(answer, width))
        yield from facts
        yield from self._curve(answer, counts, width)
        yield Text()
        kept = answer.edges[: self.count]
        off = set(point.off) if (point := self._point(answer)) else set()
        if self.graph:
            yield from self._graph(answer, [edge for n, edge in enumerate(kept) if n not in off], width)
        else:
            yield from self._list(kept, off, width, height - 7 - len(facts))

    def facts(self, answer: "Circuit", width: int) -> Iterator[Text]:
        """What the k edges carry, between the two prompts."""
        point, k = self._point(answer), _("{count:,} of {total:,} edges").format(count=self.count, total=answer.total)
        if point is None:
            yield from self.folded(width, (_("{k} by {method} …").format(k=k, method=answer.method.upper()), "muted"))
            yield Text()
            return
        words = _("{k} by {method} carry {share} of the difference: {value:+.2f}").format(
            k=k, method=answer.method.upper(), share=percent(point.share, 1), value=point.value
        )
        between = _(", corrupt {corrupt:+.2f}, clean {clean:+.2f}").format(corrupt=answer.corrupt, clean=answer.clean)
        yield from self.folded(width, (words + (between if cell_len(words + between) <= width else ""), "text"))
        if self._reduced:
            others = len(self._kept) - len(self._before)
            words = _("the walk keeps {count} heads and MLPs; the other {others} give their mean output").format(
                count=len(point.nodes), others=others
            )
            yield from self.folded(width, (words, "hot"))
            return
        likely = "  ".join(
            f"{within(label(each.piece), 12)} {percent(each.probability, 0)} ({percent(each.clean, 0)})"
            for each in point.likely[: 2 if width < 80 else 3]
        )
        words = _("{connected:,} on a path · then likeliest (with all): {likely}").format(
            connected=point.connected, likely=likely
        )
        yield from self.folded(width, (words, "muted"))

    def _curve(self, answer: "Circuit", counts: list[int], width: int) -> Iterator[Text]:
        """Faithfulness over the number of edges: numbers, and bars from 0 to 1."""
        shares = {point.edges: point.share for point in answer.curve}
        room = max(1, (width - 7) // COLUMN)
        at = counts.index(self.count)
        first = max(0, min(at - room // 2, len(counts) - room))
        rows: list[list[tuple[str, str]]] = [[(_("edges  "), "head")], [("       ", "head")], [(_("share  "), "head")]]
        for count in counts[first : first + room]:
            style = "hot" if count == self.count else "muted"
            share = shares.get(count)
            bar = "·" if share is None else HEIGHTS[round(7 * max(0.0, min(share, 1.0)))]
            mark = bar if share is None or 0 <= share <= 1.005 else "−" if share < 0 else "▲"
            rows[0].append((f"{_short(count):>{COLUMN}}", style))
            rows[1].append((f"{mark * 4:>{COLUMN}}", "hot" if count == self.count else "bar"))
            rows[2].append((f"{'…' if share is None else f'{share:.2f}':>{COLUMN}}", style))
        for row in rows:
            yield self.text(*row)

    def _list(self, kept: "tuple[Edge, ...]", off: set[int], width: int, room: int) -> Iterator[Text]:
        bar = max(4, min(WIDEST, (width - RANK - 2 * NODE - NUMBER - 6) // 2))
        yield self.text(
            (
                f"{'#':>{RANK}} {_('sender'):<{NODE}}  {_('receiver'):<{NODE}}"
                f"{'':<{2 * bar + 1}}{_('score'):>{NUMBER}}",
                "head",
            )
        )
        scale = max((abs(edge.score) for edge in kept), default=0.0) or 1.0
        at = min(self.cursor, len(kept) - 1)
        for number in self.visible_rows(len(kept), max(0, at), max(3, room)):
            edge, style = kept[number], "faint" if number in off else "text"
            left, right = signed_bar(edge.score / scale, bar)
            yield self.target(
                number,
                self.row(
                    number == at,
                    width,
                    (f"{number + 1:>{RANK}} ", "faint"),
                    (f"{part_name(edge.sender):<{NODE}}", style),
                    ("→ ", "faint"),
                    (f"{part_name(edge.receiver):<{NODE}}", style),
                    (left, "below"),
                    ("│", "faint"),
                    (right, "above"),
                    (f"{edge.score:>+{NUMBER}.3f}", style),
                ),
            )
        if off:
            yield from self.folded(width, (_("faint edges lie on no path from the embedding to the logits"), "faint"))

    def _graph(self, answer: "Circuit", kept: "list[Edge]", width: int) -> Iterator[Text]:
        """What each part of the circuit reads, the last parts first; in a wide panel beside the grid of all heads."""
        beside = list(grid(answer.parts, kept)) if width >= GRID_FROM else []
        room = width - (max((cell_len(line) for line in beside), default=-3) + 3)
        if not kept:
            yield from self.paragraph(
                _("none of these edges lies on a path from the embedding to the logits"), "muted", width
            )
            return
        rows = list(by_receiver(kept, room))
        for number in range(max(len(rows), len(beside))):
            head, words = rows[number] if number < len(rows) else ("", "")
            line = self.text((head, "hot"), (words, "text"))
            if number < len(beside):
                line.append(" " * max(1, room + 3 - line.cell_len))
                line.append_text(self.text((beside[number], "muted")))
            yield line


def lens_counts(total: int) -> list[int]:
    """The numbers of edges of a curve."""
    from core.lenses.circuit import curve_counts  # noqa: PLC0415

    return curve_counts(total)


def _short(count: int) -> str:
    """A number of edges in up to 5 cells: `300`, `3k`, `71k`."""
    return str(count) if count < 1000 else f"{count / 1000:.0f}k"

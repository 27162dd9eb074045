"""The contrast lens: heat maps of activation patching, exact and estimated, and the patch under the cursor."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args

from rich.cells import cell_len
from rich.text import Text

from core.activations.patch import Patch, PatchPart, toggled
from core.language import N_, _
from core.lenses import lens
from tui.drawing.bars import meter
from tui.drawing.heat_map import NUMBERED, HeatMap, cell_width
from tui.drawing.text import fit, label, signed, within
from tui.lenses.base import ExperimentPage, HeatMapPage, KeyWords
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.causal.attribution_patching import Agreement
    from core.lenses.contrast import Contrast
    from core.walk.session import Session

MapName = Literal["residual", "attention", "mlp", "heads"]
MAPS: tuple[MapName, ...] = get_args(MapName)
NAMES: dict[MapName, str] = {
    "residual": N_("residual"),
    "attention": N_("attention"),
    "mlp": "mlp",
    "heads": N_("heads"),
}
TITLES = {
    "residual": N_("residual stream before each block"),
    "attention": N_("what attention adds"),
    "mlp": N_("what the MLP adds"),
    "heads": N_("each head at all positions"),
}
PARTS: dict[MapName, PatchPart] = {"residual": "position", "attention": "attention", "mlp": "mlp", "heads": "head"}
"""By map, the part that a patch of a cell swaps."""
BAR = 12
"""Cells of the progress bar."""
GAP = 3
"""Cells between the exact map and its estimate."""
NARROW = 3
"""Width of a cell from which two maps without numbers stand side by side."""
ROW = 5
"""Cells of a row's label."""
LABELS = 6
"""Lines of a map beside its rows, and the heading of the second one."""


class ContrastLens(HeatMapPage["Contrast"], ExperimentPage["Contrast"]):
    """One map at a time; where there is room its estimate stands beside it."""

    NAME = "contrast"
    TITLE = N_("contrast")
    DESCRIPTION = N_("Activation patching between the prompt and a corrupt one")
    ORDER = 42
    GROUP = N_("Why")
    ALSO = N_("activation patching causal tracing corrupt")
    KEYS = KeyWords(move=N_("row"), choose=N_("patch"), view=N_("map"), across=N_("column"))

    def __init__(self) -> None:
        super().__init__()
        self.map: MapName = "residual"
        self.estimates = False
        """Whether the estimates take the place of the exact values, where there is no room for both."""

    def options(self) -> dict[str, Any]:
        return {"first": self.map}

    def new_question(self) -> Question:
        """What is known when it is asked, also again, is taken over: another map or a patch does not begin anew."""
        first = self.map

        def ask(session: "Session") -> Iterator[Any]:
            question, options = session.current_question(), {"first": first, "known": self.answer}
            return session.reader.without_swaps(lambda: lens("contrast")(session.current_step(), question, **options))

        return Question(ask)

    def show(self, frame: Frame) -> None:
        before, patched = self.answer, (self._patches, self._patched_walk())
        super().show(frame)
        if self.answer and (before is None or before.pieces != self.answer.pieces):
            self.column = 10**6  # the last position
            self.draw()
        elif patched != (self._patches, self._patched_walk()):
            self.draw()

    # Keys ------------------------------------------------------------------------------------------------------------

    def switch_view(self) -> None:
        self._turn_to(MAPS[(MAPS.index(self.map) + 1) % len(MAPS)])

    def choose(self, number: int | None = None) -> None:
        """`⏎`: the patch of the cell in the walk, or out of it. Digits: a map, or after them the estimates."""
        if number is None:
            if self.answer and self.choice_count():
                patch = self._patch(self.answer)
                self.host.act(lambda session: session.patch(toggled(session.patches, patch)))
        elif number <= len(MAPS):
            self._turn_to(MAPS[number - 1])
        elif number == len(MAPS) + 1:
            self.estimates = not self.estimates
            self.draw()

    def _patch(self, answer: "Contrast") -> Patch:
        """The corrupt activation of the cell under the cursor, for the walk, which goes on from the clean prompt."""
        return Patch(kind="swap", part=PARTS[self.map], layer=self.cursor, index=self.column, ids=answer.corrupt_ids)

    @property
    def _patches(self) -> tuple[Patch, ...]:
        return self.frame.snapshot.patches if self.frame.snapshot else ()

    def _turn_to(self, name: MapName) -> None:
        if name == self.map:
            return
        if "heads" in (name, self.map):
            self.column = 0 if name == "heads" else 10**6
        self.map = name
        if self.answer and not _complete(self.answer, name):
            self.ask_again()
        self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def heat_map(self) -> HeatMap | None:
        return self._map(self.answer) if self.answer else None

    def _map(self, answer: "Contrast", estimated: bool = False) -> HeatMap:
        source = answer.estimated if estimated else answer
        values = getattr(source, self.map) if source else ()
        if not values:
            values = tuple((None,) * len(row) for row in getattr(answer, self.map))
        heads = self.map == "heads"
        columns = tuple(map(str, range(len(values[0])))) if heads and values else tuple(map(label, answer.pieces))
        return HeatMap(tuple(f"{n:>2}" for n in range(len(values))), columns, values, 1.0)

    def title_detail(self) -> str:
        return _(NAMES[self.map])

    def draw(self) -> None:
        if drawn := self.heat_map():
            self.cursor = max(0, min(self.cursor, len(drawn.rows) - 1))
            self.column = max(0, min(self.column, len(drawn.columns) - 1))
        self.hint(_("↑↓ ⇧←→ cell · ⏎ patch · o next map · 1–4 · 5 estimate") if self.answer else "")
        super().draw()

    def lines(self, answer: "Contrast", width: int, height: int) -> Iterator[Text]:
        corrupt, patched = _(" · corrupt {corrupt:+.2f}").format(corrupt=answer.corrupt), self._patched_walk()
        head = self.why(answer, max(0, width - len(corrupt) - len(patched)))
        head.append_text(self.text((corrupt, "muted"), (patched, "bar")))
        yield head
        about = self._about(answer, width)
        yield from about
        exact = self._map(answer)
        if not exact.rows:
            yield self.text((_("this model has no MLP"), "muted"))
            return
        estimated = self._map(answer, estimated=True)
        where, numbers = self._cell(answer, exact, estimated)
        under = self.at_both_ends(width, (where, "muted"), (numbers, "text"))
        yield from under
        room = height - 1 - len(about) - len(under)
        half = (width - GAP) // 2
        whole, beside = (cell_width(len(exact.columns), cells - ROW) for cells in (width, half))
        if beside >= NUMBERED or (whole < NUMBERED and beside >= NARROW):
            yield from self._beside(exact, estimated, half, room)
        elif whole >= NUMBERED and room >= 2 * (len(exact.rows) + LABELS):
            yield from self.map_lines(exact, width, len(exact.rows) + LABELS - 1)
            yield Text()
            yield self.text((_("   estimated by one backward pass"), "head"))
            yield from self.map_lines(estimated, width, len(exact.rows) + LABELS - 1)
        else:
            yield from self.map_lines(estimated if self.estimates else exact, width, room)

    def _beside(self, exact: HeatMap, estimated: HeatMap, half: int, room: int) -> Iterator[Text]:
        """Both maps, side by side, with a heading each."""
        words = _("   estimated by one backward pass")
        estimate = words if cell_len(words) <= half else _("   estimated")
        yield self.text((fit(_("   exact"), half + GAP), "head"), (estimate, "head"))
        for left, right in zip(
            self.map_lines(exact, half, room - 1), self.map_lines(estimated, half, room - 1), strict=True
        ):
            left.truncate(half)  # a line of a map is as wide as the panel, for clicks
            left.append(" " * max(0, half + GAP - left.cell_len))
            left.append_text(right)
            yield left

    def _patched_walk(self) -> str:
        """What the question measures in the walk, where a patch is in it."""
        measured = self.frame.snapshot.measured if self.frame.snapshot else None
        if not any(patch.kind == "swap" for patch in self._patches):
            return ""
        return _(" · patched {value:+.2f}").format(value=measured.value) if measured else _(" · patched")

    def _about(self, answer: "Contrast", width: int) -> list[Text]:
        """The map in words, and its progress or how well it is estimated."""
        progress = self.frame.progress
        agreed = next((each for each in answer.agreement if each.map == self.map), None)
        if agreed:
            state = (_agreement(agreed), "muted")
        elif progress:
            state = (
                f"{meter(progress.done / max(1, progress.total), BAR)} {progress.done:,}/{progress.total:,}",
                "bar",
            )
        else:
            state = ("", "muted")
        shown = _("estimate: ") if self.estimates else ""
        return self.at_both_ends(width, (f"{shown}{_(TITLES[self.map])}", "text"), state)

    def at_cursor(self, answer: "Contrast") -> str:
        return ": ".join(self._cell(answer, self._map(answer), self._map(answer, estimated=True)))

    def _cell(self, answer: "Contrast", exact: HeatMap, estimated: HeatMap) -> tuple[str, str]:
        """The place of the cell under the cursor, and its numbers."""
        row, column = self.cursor, min(self.column, len(exact.columns) - 1)
        if self.map == "heads":
            where = _("head {layer}.{head}").format(layer=row, head=column)
        else:
            clean, corrupt = answer.pieces[column], answer.corrupt_pieces[column]
            changed = "" if clean == corrupt else _(" for {token}").format(token=within(label(corrupt), 10))
            where = _("block {row} · {column} {token}{changed}").format(
                row=row, column=column, token=within(label(clean), 10), changed=changed
            )
        value, estimate = exact.at(row, column), estimated.at(row, column)
        if self._patch(answer) in self._patches:
            where = _("▸ {where} · patched").format(where=where)
        return where, _("{value}  estimate {estimate}").format(value=signed(value), estimate=signed(estimate))


def _agreement(agreed: "Agreement") -> str:
    if agreed.pearson is None or agreed.spearman is None:
        return _("estimate: no correlation")
    return _("estimate: r {pearson:.2f} · rank {spearman:.2f}").format(pearson=agreed.pearson, spearman=agreed.spearman)


def _complete(answer: "Contrast", name: MapName) -> bool:
    return not any(value is None for row in getattr(answer, name) for value in row)

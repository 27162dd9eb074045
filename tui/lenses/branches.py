"""The tree of the walk: one row for each branch, to go to, name, fold or delete."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding

from core.language import N_, _
from core.walk.values import Branch, Forest
from tui.dialogs.line import LineScreen
from tui.drawing.search import outcome
from tui.drawing.text import decimals_for, fit, one_line, percent, run_text
from tui.drawing.tree import tree_tips
from tui.lenses.base import KeyWords, LensPage
from tui.runner import Question

if TYPE_CHECKING:
    from core.walk.session import Session

AROUND = 32
"""Rows that are asked for above and below the row of the cursor."""
DEEPEST = 10
"""Depth up to which rows are indented; deeper rows show the difference as a number."""


class BranchesLens(LensPage[Forest]):
    """Moving the cursor moves the walk, so that every panel shows the chosen branch."""

    NAME = "branches"
    TITLE = N_("branches")
    DESCRIPTION = N_("Every branch of the walk: go there, name, fold or delete it")
    ORDER = 1
    GROUP = N_("Next token")
    ALSO = N_("tree alternatives history")
    KEYS = KeyWords(move=N_("walk there"), choose=N_("its end"))
    BINDINGS: ClassVar = [
        Binding("f", "fold", "fold", tooltip="Hide or show the branches that continue a branch", show=True),
        Binding("N", "rename", "name", tooltip="Give a branch a name", show=True),
        Binding("delete,backspace", "delete", "delete", tooltip="Delete a branch", show=True, key_display="del"),
    ]

    def new_question(self) -> Question:
        return Question(lambda session: session.searches.forest(AROUND), live=True)

    def move(self, by: int) -> None:
        def visit(session: "Session") -> object:
            target = session.history.branch(by)
            return session.visit(target) if target != session.history.branch() else None

        self.host.act(visit)

    def cell_at_cursor(self) -> tuple[int, int]:
        return (self.answer.current if self.answer else 0), 0

    def choose(self, number: int | None = None) -> None:
        self.host.act(lambda session: session.travel(len(session.tokens)))

    def action_fold(self) -> None:
        self.host.act(lambda session: session.tree.fold(session.history.branch()))

    def action_delete(self) -> None:
        self.host.act(lambda session: session.delete(session.history.branch()))

    def action_rename(self) -> None:
        present = self.answer.rows[self.answer.current].name if self.answer and self.answer.rows else ""
        words = _("A name for this branch; an empty line removes the name.")

        def rename(name: str | None) -> None:
            if name is not None:
                self.host.act(lambda session: session.tree.rename(session.history.branch(), name.strip()))

        self.app.push_screen(LineScreen("name", words, present), rename)

    # Painting --------------------------------------------------------------------------------------------------------

    def title_detail(self) -> str:
        return f"{self.answer.total:,}" if self.answer else ""

    def draw(self) -> None:
        super().draw()
        if self.answer:
            self.hint(_("↑↓ walk there · f fold · N name · del delete · u back"))
            self.follow()

    def current_lines(self) -> tuple[int, int]:
        above = 3 if self.answer and self.answer.search else 1
        return (0, above) if self.answer is None or not self.answer.current else (self.answer.current + above,) * 2

    def lines(self, answer: Forest, width: int, height: int) -> Iterator[Text]:
        more = _("{first:,} more above").format(first=answer.first) if answer.first else ""
        room = width - 18
        if answer.search:
            yield self.text((fit(answer.search.plan, width), "bar"))
            yield self.text((fit(outcome(answer.search.state), width), "text"))
        yield self.text((fit(f"  {more}", room) + f"{'p':>8} {_('Σ bits'):>9}", "head"))
        below = answer.total - answer.first - len(answer.rows)
        tips = tree_tips([branch.depth for branch in answer.rows], more=below > 0)
        for number, (branch, tip) in enumerate(zip(answer.rows, tips, strict=True)):
            yield self.target(
                number, self._row(branch, "▸" if branch.folded else tip, number == answer.current, room, width)
            )
        if below:
            yield self.text((_("  {below:,} more below").format(below=below), "faint"))

    def _row(self, branch: Branch, tip: str, here: bool, room: int, width: int) -> Text:
        indent = "  " * min(branch.depth, DEEPEST) + (f"+{branch.depth - DEEPEST} " if branch.depth > DEEPEST else "")
        mark = "●" if here else "│" if branch.on_path else " "
        tail = _(" {parts} folded").format(parts=branch.parts) if branch.folded else _mark(branch)
        count = f" · {branch.length:,}" if branch.length > 1 else ""
        words = run_text(branch.pieces)
        free = room - 5 - len(indent) - len(count) - len(tail)
        name = f"{one_line(branch.name)}  " if branch.name else ""
        name = fit(name, min(cell_len(name), free // 2))
        probability = (
            "" if branch.probability is None else percent(branch.probability, min(4, decimals_for(branch.probability)))
        )
        bits = "" if branch.surprisal_bits is None or branch.origin == "prompt" else f"{branch.surprisal_bits:.1f}"
        chosen = "text" if branch.on_path else "muted"
        text = chosen if branch.origin != "prompt" else "faint" if not branch.on_path else "muted"
        return self.row(
            here,
            width,
            (mark, "bar"),
            (f" {indent}{tip} ", "faint"),
            (name, "bar"),
            (fit(words, max(4, free - cell_len(name))), text),
            (count, "faint"),
            (tail, "faint" if branch.mark and branch.mark.kind == "dropped" else "hot"),
            (" ", "text"),
            (f"{probability:>8}", chosen if branch.origin != "chosen" else "hot"),
            (f"{bits:>10}", "muted"),
        )


def _mark(branch: Branch) -> str:
    """What a branch is in the last search: `#2 ✓` is a proved answer, `▷1` a running hypothesis, `✗` a dropped one."""
    mark = branch.mark
    if mark is None:
        return ""
    if mark.kind == "answer":
        return f" #{mark.rank}" + (" ✓" if mark.proved else "")
    return f" ▷{mark.rank}" if mark.kind == "running" else " ✗"

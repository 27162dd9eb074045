"""Several continuations of one prefix, as texts below each other or merged into a tree of shared beginnings."""

from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from core.errors import Action, UserError
from core.language import N_, _
from core.walk.values import Continuation, ContinuationTree, Strand
from tui.drawing.text import fit, run_text
from tui.drawing.tree import tree_tips
from tui.lenses.base import KeyWords, LensPage
from tui.runner import Question

SAMPLES = 5
"""Continuations that are sampled at first."""
MOST = 32
"""Continuations at most."""


class ContinuationsLens(LensPage[ContinuationTree]):
    """The cursor marks a continuation; choosing it moves the walk to its end."""

    NAME = "continuations"
    TITLE = N_("continuations")
    DESCRIPTION = N_("Several continuations of one prefix, side by side or merged")
    ORDER = 3
    GROUP = N_("Next token")
    ALSO = N_("samples fan several")
    KEYS = KeyWords(move=N_("row"), choose=N_("go there"), view=N_("merged"), across=N_("how many"))

    def __init__(self) -> None:
        super().__init__()
        self.samples = SAMPLES
        self.merged = False
        """Whether they are drawn as one tree."""
        self._serials: list[int] = []
        """The node in the tree that each row leads to."""
        self._tops: list[int] = []
        """The first line of each row."""

    def new_question(self) -> Question:
        return Question(lambda session: session.continuations.tree(), live=True)

    def waiting_text(self) -> str:
        return _("n samples {samples} continuations here · ⇧→ more · ⇧← fewer").format(samples=self.samples)

    def adjust(self, down: int, across: int) -> None:
        self.samples = max(1, min(MOST, self.samples + across))
        self.draw()

    def switch_view(self) -> None:
        self.merged = not self.merged
        self.cursor = 0
        self.draw()

    def choice_count(self) -> int:
        if self.answer is None:
            return 0
        return len(self.answer.strands if self.merged else self.answer.continuations)

    def choose(self, number: int | None = None) -> None:
        at = self.cursor if number is None else number - 1
        if 0 <= at < len(self._serials):
            serial = self._serials[at]
            self.host.act(lambda session: session.visit(serial))

    def current_lines(self) -> tuple[int, int]:
        line = self._tops[self.cursor] if self.cursor < len(self._tops) else 0
        return (0 if not self.cursor else line), line

    # Painting --------------------------------------------------------------------------------------------------------

    def title_detail(self) -> str:
        return f"{len(self.answer.continuations)}" if self.answer and self.answer.continuations else ""

    def draw(self) -> None:
        self._serials, self._tops = [], []
        self.cursor = max(0, min(self.cursor, self.choice_count() - 1))
        super().draw()
        other = _("texts") if self.merged else _("merged")
        again = _("n samples {samples}").format(samples=self.samples) + (
            _(" · ⇧←→ how many") if self.size.width > 58 else ""
        )
        self.hint(_("↑↓ row · ⏎ go there · o {other} · {again}").format(other=other, again=again))

    def lines(self, answer: ContinuationTree, width: int, height: int) -> Iterator[Text]:
        if not answer.continuations:
            yield self.text((self.waiting_text(), "faint"))
        else:
            alike = self._alike(answer)
            if alike:
                yield self.text((fit(alike, width).rstrip(), "muted"))
            above, height = (1, height - 1) if alike else (0, height)
            yield from (
                self._merged_lines(answer, width, above)
                if self.merged
                else self._text_lines(answer, width, height, above)
            )

    def _alike(self, answer: ContinuationTree) -> str:
        """Why all continuations are the same text; empty where they are not."""
        texts = {continuation.pieces for continuation in answer.continuations}
        if not self.host.sampler.greedy or len(texts) > 1 or len(answer.continuations) == 1:
            return ""
        return self.host.spell(
            UserError(_("greedy: all are equal; {key} chooses a sampler"), key=Action("choose.preset"))
        )

    def _text_lines(self, answer: ContinuationTree, width: int, height: int, above: int) -> Iterator[Text]:
        each = max(1, (height - 1) // max(1, len(answer.continuations)) - 1)
        yield self.text((f"{'':>4}{fit('', width - 12)}{_('Σ bits'):>8}", "head"))
        line = above + 1
        for number, continuation in enumerate(answer.continuations):
            self._serials.append(continuation.serial)
            self._tops.append(line)
            for row in self._text_of(continuation, number, width, each):
                line += 1
                yield row
            if each > 1:
                line += 1
                yield Text()

    def _text_of(self, continuation: Continuation, number: int, width: int, most: int) -> Iterator[Text]:
        rows = _wrapped(run_text(continuation.pieces).strip(), width - 13)
        if len(rows) > most:
            rows = [*rows[: most - 1], fit(rows[most - 1] + "…", width - 13)]
        chosen = number == self.cursor
        for at, words in enumerate(rows or [""]):
            head, bits = (f"{number + 1:>3} ", f"{continuation.surprisal_bits:>8.1f}") if at == 0 else ("    ", "")
            yield self.target(
                number,
                self.row(
                    chosen,
                    width,
                    (head, "bar" if chosen else "faint"),
                    (fit(words, width - 12), "text"),
                    (bits, "muted"),
                    first=at == 0,
                ),
            )

    def _merged_lines(self, answer: ContinuationTree, width: int, above: int) -> Iterator[Text]:
        yield self.text((f"{fit('', width - 18)}{_('samples'):>8}{_('H bits'):>10}", "head"))
        tips = tree_tips([strand.depth for strand in answer.strands])
        for number, (strand, tip) in enumerate(zip(answer.strands, tips, strict=True)):
            self._serials.append(strand.serial)
            self._tops.append(above + number + 1)
            yield self.target(number, self._strand(strand, tip, number, len(answer.continuations), width))

    def _strand(self, strand: Strand, tip: str, number: int, total: int, width: int) -> Text:
        indent = "  " * min(strand.depth, 12)
        words = run_text(strand.pieces) if strand.pieces else _("here")
        entropy = "" if strand.entropy_bits is None else f"{strand.entropy_bits:.2f}"
        return self.row(
            number == self.cursor,
            width,
            (f"{indent}{tip} ", "faint"),
            (fit(words, max(4, width - 20 - len(indent))), "text" if strand.pieces else "muted"),
            (f"{strand.count:>4}/{total:<3}", "bar"),
            (f"{entropy:>10}", "muted"),
        )


def _wrapped(text: str, width: int) -> list[str]:
    """`text` in rows of at most `width` cells, broken at spaces where there are any."""
    rows, row, used = list[str](), "", 0
    for word in text.replace(" ", " \0").split("\0"):
        rest = word
        while rest:
            size = cell_len(rest.rstrip())
            if used + size <= width:
                row, used = row + rest, used + cell_len(rest)
                break
            if row:
                rows.append(row)
                row, used = "", 0
                continue
            cut = 1
            while cut < len(rest) and cell_len(rest[: cut + 1]) <= width:
                cut += 1
            rows.append(rest[:cut])
            rest = rest[cut:]
    return [*rows, row] if row else rows

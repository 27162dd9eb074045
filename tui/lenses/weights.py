"""How many parameters each part has, and the histogram of any weight."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from weakref import ref

from rich.cells import cell_len
from rich.text import Text

from core.language import N_, _
from core.lenses import lens
from tui.drawing.bars import columns, meter
from tui.drawing.parts import part_name
from tui.drawing.text import compact, fit, one_line
from tui.lenses.base import AnswerCache, KeyWords, LensPage
from tui.runner import Frame, Question, Refusal

if TYPE_CHECKING:
    from core.lenses.weights import Histogram, Weights
    from core.walk.session import Session

FIRST = "embed.weight"
"""The weight whose histogram is shown at first."""
PART, COUNT, SHARE = 12, 13, 7
LISTED = 6
"""Names that are listed at least, however low the panel is."""


class WeightsLens(LensPage["Weights"]):
    """Parameter counts by part; its other view lists every weight and draws the histogram of one."""

    NAME = "weights"
    TITLE = N_("weights")
    DESCRIPTION = N_("Parameters by part, and the distribution of any weight")
    ORDER = 16
    GROUP = N_("Inside")
    ALSO = N_("parameters count histogram size")
    KEYS = KeyWords(move=N_("weight"), choose=N_("histogram"), view=N_("view"))

    def __init__(self) -> None:
        super().__init__()
        self._cache = AnswerCache()
        self.chosen = FIRST
        self.listed = False
        """Whether the weights are listed by name."""

    def new_question(self) -> Question:
        name = self.chosen

        def count(session: "Session") -> Iterator[object]:
            model = ref(session.model.transformer)
            return self._cache.answers((model, name), lambda: lens("weights")(session.current_step(), name))

        return Question(count)

    def show(self, frame: Frame) -> None:
        super().show(frame)
        if frame.question is self._question and isinstance(frame.answer, Refusal) and self.chosen != FIRST:
            self.chosen = FIRST  # this model has no weight of that name
            self.ask_again()

    def looked_at(self) -> dict[str, int | str]:
        return {"weight": self.chosen}

    def choice_count(self) -> int:
        return len(self.answer.names) if self.answer and self.listed else 0

    def choose(self, number: int | None = None) -> None:
        if not self.listed:
            self.switch_view()
        elif self.answer:
            at = self.cursor if number is None else number - 1
            if at < len(self.answer.names):
                self.cursor, self.chosen = at, self.answer.names[at].name
                self.ask_again()

    def switch_view(self) -> None:
        self.listed = not self.listed
        self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        self.cursor = max(0, min(self.cursor, self.choice_count() - 1)) if self.listed else self.cursor
        keys = _("↑↓ weight · ⏎ histogram · o parts") if self.listed else _("o all weights")
        self.hint(keys if self.answer else "")
        super().draw()

    def lines(self, answer: "Weights", width: int, height: int) -> Iterator[Text]:
        yield from self._names(answer, width, height) if self.listed else self._parts(answer, width)

    def _parts(self, answer: "Weights", width: int) -> Iterator[Text]:
        bar = max(3, min(30, width - PART - 2 * COUNT - SHARE - 12))
        yield self.text(
            (
                f"{_('part'):<{PART}}{_('weights'):>{COUNT}}{_('biases'):>{COUNT - 3}}  "
                f"{'':<{bar}}{_('share'):>{SHARE}}{'MB':>9}",
                "head",
            )
        )
        for each in answer.counts:
            share = each.parameters / answer.total
            yield self.text(
                (f"{part_name(each.part):<{PART}}", "text"),
                (f"{each.weights:>{COUNT},}", "text"),
                (f"{each.biases:>{COUNT - 3},}  ", "muted"),
                (meter(share, bar), "bar"),
                (f"{share:>{SHARE}.1%}", "text"),
                (f"{each.size_bytes / 1e6:>9,.1f}", "muted"),
            )
        size = sum(each.size_bytes for each in answer.counts) / 1e6
        yield Text()
        yield self.text(
            (f"{_('total'):<{PART}}{answer.total:>{COUNT},}", "text"),
            (" " * (COUNT - 1 + bar + SHARE), "text"),
            (f"{size:>9,.1f}", "muted"),
        )
        yield Text()
        if answer.total == answer.expected:
            words = _("counted from the tensors; the configuration gives the same number")
        else:
            words = _("counted from the tensors; the configuration gives {expected:,}").format(expected=answer.expected)
        yield from self.paragraph(words, "muted" if answer.total == answer.expected else "hot", width)
        if answer.tied:
            words = _("the embedding and the unembedding share their weights, which count once")
            yield from self.paragraph(words, "muted", width)

    def _names(self, answer: "Weights", width: int, height: int) -> Iterator[Text]:
        chart = max(4, min(12, height - LISTED - 5))
        shown = answer.histogram.name if answer.histogram else ""
        for number in self.visible_rows(len(answer.names), self.cursor, max(LISTED, height - chart - 5)):
            each = answer.names[number]
            shape = " × ".join(f"{size:,}" for size in each.shape)
            name = fit(one_line(each.name), max(10, width - 25))
            yield self.target(
                number,
                self.row(
                    number == self.cursor,
                    width,
                    ("›" if number == self.cursor else " ", "text"),
                    ("● " if each.name == shown else "  ", "bar"),
                    (name, "text" if number == self.cursor else "muted"),
                    (f"{shape:>21}", "muted"),
                ),
            )
        yield Text()
        if answer.histogram:
            yield from self._histogram(answer.histogram, width, chart)
        else:
            done = self.frame.progress
            yield self.text(
                (
                    _("measuring … {percent} %").format(percent=100 * done.done // max(1, done.total)) if done else "…",
                    "faint",
                )
            )

    def _histogram(self, histogram: "Histogram", width: int, height: int) -> Iterator[Text]:
        across = max(len(histogram.counts), min(width, 120))
        most = max(histogram.counts) or 1
        facts = _("{count} numbers · mean {mean:+.4f} · std {std:.4f}").format(
            count=compact(sum(histogram.counts)), mean=histogram.mean, std=histogram.std
        )
        name = f"   {one_line(histogram.name)}"
        yield self.text((facts, "text"), (name if cell_len(facts + name) <= width else "", "muted"))
        shares = [histogram.counts[x * len(histogram.counts) // across] / most for x in range(across)]
        for line in columns(shares, height):
            yield self.text((line, "bar"))
        axis = ["─"] * across
        reach = (histogram.high - histogram.low) or 1.0
        for value, mark in (
            (histogram.mean - histogram.std, "├"),
            (histogram.mean + histogram.std, "┤"),
            (histogram.mean, "┼"),
        ):
            axis[max(0, min(across - 1, int(across * (value - histogram.low) / reach)))] = mark
        yield self.text(("".join(axis), "faint"))
        low, high = f"{histogram.low:+.4f}", f"{histogram.high:+.4f}"
        middle = _("┼ mean   ├ ┤ one std")
        yield self.text((low + f"{middle:^{max(0, across - len(low) - len(high))}}" + high, "muted"))

"""The scores of all heads over the evaluations of a training."""

from collections.abc import Iterable, Sequence

from rich.text import Text
from textual.content import Content

from core.language import N_, _
from core.training.status import EvaluatedStep, TrainingStatus
from tui.drawing.heat_map import glyph
from tui.drawing.sheet import Sheet
from tui.drawing.text import fit

KINDS = {
    "induction": N_("induction · attention to the token after an earlier copy"),
    "previous": N_("previous token · attention to the token before"),
    "copied": N_("copying · attention to earlier copies of the token that comes next"),
}
"""The scores, by the field of a `HeadMoment`, and what they mean."""
NEXT = (N_("previous"), N_("copied"), N_("losses"))
"""What follows each of them."""
LABEL, VALUE, WIDEST = 8, 7, 12
"""Cells of a head's name, of its number, and of an evaluation at most."""
WEAKEST_SCALE = 0.1
"""The score of the strongest glyph at least, so that noise is not drawn as much."""


class HeadScoresPlot(Sheet):
    """A row for each head, a column for each evaluation; the number is that of the evaluation that is shown."""

    def __init__(self) -> None:
        super().__init__("head-scores")
        self.kind = ""
        """The score that is shown, of `KINDS`; empty where the losses are shown instead."""
        self._moments: tuple[EvaluatedStep, ...] = ()
        self._chosen: EvaluatedStep | None = None

    def turn(self) -> None:
        """Show the next score, and after the last one none."""
        kinds = ["", *KINDS]
        self.kind = kinds[(kinds.index(self.kind) + 1) % len(kinds)]

    def show(self, status: TrainingStatus, chosen: EvaluatedStep | None) -> None:
        """Draw the present score of all evaluations."""
        self._moments = tuple(each for each in status.evaluated_steps if each.evaluation and each.evaluation.heads)
        self._chosen = chosen
        if self.changed(self.kind, self._moments, chosen):
            kind = _(KINDS.get(self.kind, ""))
            self.border_title = Content(_("heads · {kind}").format(kind=kind))
            following = _(NEXT[[*KINDS].index(self.kind)]) if self.kind else ""
            self.border_subtitle = Content(
                _("░▒▓█ up to {scale:.2f} · i {following}").format(scale=self._scale(), following=following)
            )

    def lines(self, width: int, height: int) -> Iterable[Text]:
        if not self._moments:
            yield self.text((_("no head is measured yet; a model has heads from model3 on"), "faint"))
            return
        moments = _spread(self._moments, max(1, width - LABEL - VALUE))
        cell = max(1, min(WIDEST, (width - LABEL - VALUE) // len(moments)))
        last, scale = self._scores(self._chosen or moments[-1]) or self._scores(moments[-1]), self._scale()
        heads = sorted(last, key=lambda head: -last[head])[: max(1, height - 1)]
        columns = [self._scores(moment) for moment in moments]
        for head in sorted(heads):
            line = self.text((fit(f"{head[0]}.{head[1]}", LABEL), "muted"))
            for moment, scores in zip(moments, columns, strict=True):
                drawn = glyph(scores[head] / scale) * cell
                line.append_text(self.text((drawn, "hot" if moment == self._chosen else "bar")))
            yield line.append_text(self.text((f"{last[head]:>{VALUE}.3f}", "text")))
        first, end = f"{moments[0].step:,}", _("{step:,} steps").format(step=moments[-1].step)
        room = max(len(first) + len(end) + 1, cell * len(moments))
        left_out = (
            _("the {count} strongest of {total}").format(count=len(heads), total=len(last))
            if len(heads) < len(last)
            else ""
        )
        between = room - len(first) - len(end)
        words = left_out.center(between) if len(left_out) + 2 <= between else " " * between
        yield self.text((" " * LABEL + first + words + end, "muted"))

    def _scores(self, moment: EvaluatedStep) -> dict[tuple[int, int], float]:
        """The score of each head, by layer and head."""
        if not (moment.evaluation and moment.evaluation.heads and self.kind):
            return {}
        grid: Sequence[Sequence[float]] = getattr(moment.evaluation.heads, self.kind)
        return {(layer, head): value for layer, row in enumerate(grid) for head, value in enumerate(row)}

    def _scale(self) -> float:
        """The score of the strongest glyph."""
        return max([WEAKEST_SCALE, *(value for each in self._moments for value in self._scores(each).values())])


def _spread(moments: Sequence[EvaluatedStep], room: int) -> list[EvaluatedStep]:
    """At most `room` of the evaluations, evenly, with the first and the last."""
    if len(moments) <= room:
        return [*moments]
    return [moments[round(n * (len(moments) - 1) / max(1, room - 1))] for n in range(room)]

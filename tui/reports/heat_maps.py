"""`tokenwalk lens`: the maps of experiments as tables of numbers, a line for each layer."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from core.language import N_, _
from tui.drawing.heat_map import cell, labels
from tui.drawing.question import why
from tui.drawing.text import label

if TYPE_CHECKING:
    from core.lenses.contrast import Contrast
    from core.lenses.paths import Paths

CELL = 7
"""Cells of a column."""
LABEL_LINES = 3
NAMES = {"residual": N_("residual stream"), "attention": N_("attention"), "mlp": "MLP", "heads": N_("heads")}


def contrast_lines(answer: "Contrast") -> Iterator[str]:
    """The exact maps of the contrast lens, each with the correlation of its estimate."""
    yield why(answer.asked) + _(" · corrupt {corrupt:+.2f}").format(corrupt=answer.corrupt)
    agreed = {each.map: each for each in answer.agreement}
    for name, title in NAMES.items():
        rows = getattr(answer, name)
        if not rows:
            continue
        known = agreed.get(name)  # type: ignore[call-overload]  # NAMES has the maps
        pearson = (
            _(" · estimate: r {pearson:.2f}").format(pearson=known.pearson)
            if known and known.pearson is not None
            else ""
        )
        rank = (
            _(" · rank {spearman:.2f}").format(spearman=known.spearman) if known and known.spearman is not None else ""
        )
        yield ""
        yield _("{title}, 0 corrupt, 1 clean{pearson}{rank}").format(title=_(title), pearson=pearson, rank=rank)
        yield from _table(rows, [label(piece) for piece in answer.pieces] if name != "heads" else range(len(rows[0])))


def paths_lines(answer: "Paths") -> Iterator[str]:
    """What each sender of the lens of paths does."""
    yield why(answer.asked) + _(" · corrupt {corrupt:+.2f}").format(corrupt=answer.corrupt)
    yield _("one sender directly to {label}; 0 corrupt, 1 clean; embedding {embedding:+.3f}").format(
        label=answer.label, embedding=answer.embedding
    )
    if answer.heads:
        heads = [*range(len(answer.heads[0])), *(["mlp"] if answer.mlp else [])]
        yield from _table([(*row, *answer.mlp[n : n + 1]) for n, row in enumerate(answer.heads)], heads)


def _table(rows: Sequence[Sequence[float | None]], columns: Sequence[object]) -> Iterator[str]:
    yield from (f"     {line}" for line in labels([str(column) for column in columns], CELL, LABEL_LINES))
    for layer, row in enumerate(rows):
        yield f"{layer:>4} {''.join(cell(value, 1.0, CELL) for value in row)}"

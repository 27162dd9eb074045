"""The row under the cursor of a lens, in words and never cut: what is drawn is as wide as the terminal."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from core import lenses
from core.language import _, ngettext
from tui.drawing.parts import part_name
from tui.drawing.spoken import spoken
from tui.drawing.text import label, one_line
from tui.lenses.attribution import AttributionLens
from tui.lenses.base import LensPage
from tui.lenses.base.experiment import ExperimentPage
from tui.lenses.branches import BranchesLens
from tui.lenses.context import ContextLens
from tui.lenses.continuations import ContinuationsLens
from tui.lenses.logit import LogitLensPage
from tui.lenses.weights import WeightsLens
from tui.plain import words
from tui.reports.cells import cell

if TYPE_CHECKING:
    from core.lenses.context import PrefixRow
    from core.lenses.logit import LayerPrediction
    from core.lenses.weights import Histogram, NamedWeight
    from core.walk.values import Strand

TABLES = ("gradients", "jacobian", "patchscope")
"""Experiments whose cursor goes through the rows of their table."""


def row_line(lens: LensPage[Any], answer: Any) -> str:
    """The row under the cursor; empty where only the drawing has it."""
    at = answer.current if isinstance(lens, BranchesLens) else lens.cursor
    return spoken("".join(islice(_rows(lens, answer), at, at + 1)))


def _rows(lens: LensPage[Any], answer: Any) -> Iterator[str]:
    match lens:
        case BranchesLens():
            yield from islice(words.forest_lines(answer), 1, None)
        case ContinuationsLens() if lens.merged:
            yield from (_strand_line(each, len(answer.continuations)) for each in answer.strands)
        case ContinuationsLens():
            yield from islice(words.continuation_lines(answer), 1, None)
        case WeightsLens():
            yield from (_weight_line(each, answer.histogram) for each in answer.names)
        case LogitLensPage() if lens.view != "map":
            yield from map(_layer_line, answer.layers)
        case ContextLens():
            yield from (_prefix_line(number, each) for number, each in enumerate(answer.rows, start=answer.start))
        case AttributionLens():
            yield from (_table_line(answer, lens.NAME, row) for row in _outer(answer))
        case ExperimentPage() if lens.NAME in TABLES:
            yield from (_table_line(answer, lens.NAME, row) for row in lenses.table(lens.NAME)(answer).rows)


def _outer(answer: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of an attribution without those of the parts of its parts."""
    return (row for row in lenses.table("attribution")(answer).rows if row[0] == answer.level)


def _table_line(answer: Any, name: str, row: tuple[Any, ...]) -> str:
    pairs = zip(lenses.table(name)(answer).columns, row, strict=True)
    return ", ".join(f"{column} {cell(column, value)}" for column, value in pairs if value is not None)


def _strand_line(strand: "Strand", total: int) -> str:
    parts = [
        _("depth {depth}").format(depth=strand.depth),
        label(b"".join(strand.pieces)) if strand.pieces else _("here"),
        ngettext("in {count} of {total} sample", "in {count} of {total} samples", total).format(
            count=strand.count, total=total
        ),
        "" if strand.entropy_bits is None else _("entropy {before:.2f} bits").format(before=strand.entropy_bits),
    ]
    return "  ".join(filter(None, parts))


def _weight_line(each: "NamedWeight", histogram: "Histogram | None") -> str:
    shown = histogram is not None and each.name == histogram.name
    parts = [one_line(each.name), " × ".join(f"{size:,}" for size in each.shape)]
    return "  ".join([*parts, _("its histogram is shown")] if shown else parts)


def _layer_line(layer: "LayerPrediction") -> str:
    top, target = layer.top[0], layer.target
    return _(
        "{layer}: entropy {bits:.3f} bits, likeliest {token} {share}, target {target} {target_share}, rank {rank:,}"
    ).format(
        layer=part_name(layer.name),
        bits=layer.entropy_bits,
        token=label(top.piece),
        share=words.share(top.probability),
        target=label(target.piece),
        target_share=words.share(target.probability),
        rank=target.rank + 1,
    )


def _prefix_line(position: int, row: "PrefixRow") -> str:
    top = row.top[0]
    line = _(
        "{position}  {token}  entropy {bits:.3f} bits, {effective:,.1f} effective candidates, {mass:,} for 90 %, "
        "likeliest {likeliest} {share}"
    ).format(
        position=position,
        token=label(row.piece),
        bits=row.entropy_bits,
        effective=row.effective,
        mass=row.mass90,
        likeliest=label(top.piece),
        share=words.share(top.probability),
    )
    if row.came is None:
        return line
    return line + _(", next {token}, rank {rank:,}").format(token=label(row.came.piece), rank=row.came.place + 1)

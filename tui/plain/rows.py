"""One row of a lens in words, in which each number has its name. It is never cut, as one that is drawn may be."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from core import lenses
from core.language import N_, _, ngettext
from tui.drawing.parts import part_name
from tui.drawing.spoken import spoken
from tui.drawing.text import label, one_line, verbatim
from tui.lenses.attention import AttentionLens
from tui.lenses.base import HeatMapPage, Lens, LensPage
from tui.lenses.base.heat import EVERYTHING
from tui.lenses.branches import BranchesLens
from tui.lenses.continuations import ContinuationsLens
from tui.lenses.ladder import LadderLens
from tui.lenses.logit import LogitLensPage
from tui.lenses.score import ScoreLens
from tui.plain import words
from tui.reports.cells import cell, column_name

if TYPE_CHECKING:
    from core.generation.token import Token
    from core.lenses.attention import AttentionView
    from core.lenses.context import PrefixRow
    from core.lenses.flow import FlowStage
    from core.lenses.ladder import Ladder, RungResult
    from core.lenses.last_token import PositionEffect
    from core.lenses.logit import LayerPrediction
    from core.lenses.weights import Histogram, NamedWeight
    from core.walk.values import Strand

CHANGED = {
    "replace": N_("{position}  {token} replaced by {by}, KL {bits} bits"),
    "mask": N_("{position}  {token} hidden, KL {bits} bits"),
    "shuffle": N_("{position}  {token} exchanged with {by}, KL {bits} bits"),
}


def row_line(lens: LensPage[Any], answer: Any) -> str:
    """The row under the cursor; empty where only the drawing has it."""
    if isinstance(lens, HeatMapPage) and not (isinstance(lens, LogitLensPage) and lens.view != "map"):
        return spoken(lens.at_cursor(answer))
    if isinstance(lens, AttentionLens) and lens.all_heads:
        return spoken(head_line(lens, answer))
    rows = ROWS.get(lens.NAME)
    at = answer.current if isinstance(lens, BranchesLens) else lens.cursor
    return spoken("".join(islice(rows(lens, answer), at, at + 1))) if rows else ""


def named(names: Iterable[object], numbers: Iterable[float | None], decimals: int = 2) -> str:
    """Numbers, each after its name; one that is not known is `none`."""
    return ", ".join(
        f"{name} {_('none') if number is None else f'{number:.{decimals}f}'}"
        for name, number in zip(names, numbers, strict=False)
    )


# Tables of experiments -----------------------------------------------------------------------------------------------


def table_lines(name: str, answer: Any) -> Iterator[str]:
    """The rows of the table of an experiment; what a row does not have is left out."""
    yield from (_table_line(answer, name, row) for row in lenses.table(name)(answer).rows)


def _outer(answer: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of an attribution without those of the parts of its parts."""
    return (row for row in lenses.table("attribution")(answer).rows if row[0] == answer.level)


def _table_line(answer: Any, name: str, row: tuple[Any, ...]) -> str:
    pairs = zip(lenses.table(name)(answer).columns, row, strict=True)
    return ", ".join(f"{column_name(column)} {cell(column, value)}" for column, value in pairs if value is not None)


# Rows of other lenses ------------------------------------------------------------------------------------------------


def strand_line(strand: "Strand", total: int) -> str:
    """A part that several continuations have in common."""
    parts = [
        _("depth {depth}").format(depth=strand.depth),
        label(b"".join(strand.pieces)) if strand.pieces else _("here"),
        ngettext("in {count} of {total} sample", "in {count} of {total} samples", total).format(
            count=strand.count, total=total
        ),
        "" if strand.entropy_bits is None else _("entropy {before:.2f} bits").format(before=strand.entropy_bits),
    ]
    return "  ".join(filter(None, parts))


def stage_line(stage: "FlowStage") -> str:
    """A stage of the flow, with its level, shape, norms and first values."""
    shape = " ".join(f"{part_name(axis)} {size:,}" for axis, size in stage.axes)
    values = [f"{value}" if isinstance(value, int) else f"{value:.4g}" for value in stage.values]
    pairs = [f"{label(each)} {value}" for each, value in zip(stage.labels, values, strict=False)]
    parts = [
        part_name(stage.name),
        _("level {level}").format(level=stage.level) if stage.level else "",
        shape,
        "" if stage.norm is None else _("norm {norm:.3f}").format(norm=stage.norm),
        "" if stage.stream is None else _("residual stream {norm:.3f}").format(norm=stage.stream),
        verbatim(stage.text) or ", ".join(pairs) or _("values {values} …").format(values=" ".join(values[:4])),
    ]
    return "  ".join(filter(None, parts))


def pattern_lines(answer: "AttentionView") -> Iterator[str]:
    """The attention weights of each position, from the first one that is shown to its own."""
    names = [label(piece) for piece in answer.pieces[answer.start :]]
    for position, (name, row) in enumerate(zip(names, answer.pattern, strict=False), start=answer.start):
        yield f"{position}  {name}: {named(names, row)}"


def head_line(lens: AttentionLens, answer: "AttentionView") -> str:
    """The chosen head in a few numbers."""
    layer, head = lens.chosen_layer, lens.chosen_head
    where = _("head {layer}.{head}").format(layer=layer, head=head)
    summary = lens.summary(answer, answer.heads[layer][head], EVERYTHING)
    return f"{where}: {''.join(line.plain for line in summary)}"


def _weight_line(each: "NamedWeight", histogram: "Histogram | None") -> str:
    shown = histogram is not None and each.name == histogram.name
    parts = [one_line(each.name), " × ".join(f"{size:,}" for size in each.shape)]
    return "  ".join([*parts, _("its histogram is shown")] if shown else parts)


def layer_line(layer: "LayerPrediction") -> str:
    """What a layer of the logit lens predicts."""
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


def prefix_line(position: int, row: "PrefixRow") -> str:
    """A prefix of the context lens."""
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


def change_line(how: str, change: "PositionEffect") -> str:
    """A token that the lens of the last token has changed, and what that does."""
    bits = _("exactly 0") if change.kl_bits == 0 else f"{change.kl_bits:.6f}"
    return _(CHANGED[how]).format(position=change.position, token=label(change.piece), by=label(change.by), bits=bits)


def rung_line(rung: "RungResult") -> str:
    """A rung of the ladder: its size, its loss, what it expects."""
    parts = [
        _("{name}: {parameters:,} parameters").format(name=one_line(rung.name), parameters=rung.parameters),
        "" if rung.trained else _("{added:+,} added").format(added=rung.added),
        "" if rung.loss is None else _("loss {loss:.4f} nats").format(loss=rung.loss),
        _("a uniform guess {ln_v:.4f} nats").format(ln_v=rung.ln_v),
        _("likeliest {token} {share}").format(token=label(rung.top.piece), share=words.share(rung.top.probability)),
    ]
    if target := rung.target:
        came = _("{token} came next, {share}, rank {rank:,}")
        share = words.share(target.probability)
        parts.append(came.format(token=label(target.piece), share=share, rank=target.rank + 1))
    return ", ".join(filter(None, parts))


def divergence_lines(answer: "Ladder") -> Iterator[str]:
    """The divergences of the ladder, a line for each rung."""
    names = [one_line(rung.name) for rung in answer.rungs]
    for name, row in zip(names, answer.kl_bits, strict=True):
        others = [n for n, other in enumerate(names) if other != name]
        numbers = named([names[n] for n in others], [row[n] for n in others], decimals=4)
        yield _("from {name}: {numbers}").format(name=name, numbers=numbers)


def worst_lines(lens: ScoreLens, answer: Any) -> Iterator[str]:
    """The most surprising tokens of a text, the first one first."""
    tokens: Sequence[Token] = lens.frame.snapshot.tokens if lens.frame.snapshot else ()
    for position in answer.worst:
        if position < len(tokens) and (score := tokens[position].score):
            yield _("position {position}, {token}: {share}, rank {rank:,}, {bits:.2f} bits").format(
                position=position,
                token=label(tokens[position].piece),
                share=words.share(score.probability),
                rank=score.rank + 1,
                bits=score.surprisal_bits,
            )


def _continuations(lens: ContinuationsLens, answer: Any) -> Iterator[str]:
    if lens.merged:
        return (strand_line(each, len(answer.continuations)) for each in answer.strands)
    return islice(words.continuation_lines(answer), 1, None)


def _prefixes(_lens: Lens, answer: Any) -> Iterator[str]:
    return (prefix_line(number, each) for number, each in enumerate(answer.rows, start=answer.start))


def _rungs(lens: LadderLens, answer: "Ladder") -> Iterator[str]:
    return divergence_lines(answer) if lens.divergences else map(rung_line, answer.rungs)


def _table(lens: Lens, answer: Any) -> Iterator[str]:
    return table_lines(lens.NAME, answer)


ROWS: dict[str, Callable[[Any, Any], Iterator[str]]] = {
    "attention": lambda _lens, answer: pattern_lines(answer),
    "attribution": lambda lens, answer: (_table_line(answer, lens.NAME, row) for row in _outer(answer)),
    "branches": lambda _lens, answer: islice(words.forest_lines(answer), 1, None),
    "circuit": _table,
    "context": _prefixes,
    "continuations": _continuations,
    "flow": lambda lens, _answer: map(stage_line, lens.shown()),
    "gradients": _table,
    "jacobian": _table,
    "ladder": _rungs,
    "last_token": lambda _lens, answer: (change_line(answer.how, each) for each in answer.changes),
    "logit": lambda _lens, answer: map(layer_line, answer.layers),
    "patchscope": _table,
    "score": worst_lines,
    "weights": lambda _lens, answer: (_weight_line(each, answer.histogram) for each in answer.names),
}
"""By the name of a lens, the rows that its cursor goes through."""

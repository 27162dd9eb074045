"""`tokenwalk lens heads --checkpoints`: the scores of heads over checkpoints."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from core.language import N_, _
from tui.drawing.heat_map import glyph
from tui.drawing.text import one_line

if TYPE_CHECKING:
    from core.causal.head_checkpoints import CheckpointHeads

KINDS = {
    "previous": N_("attention to the token before, on random tokens that are repeated"),
    "induction": N_("attention to the token after an earlier copy, on the same tokens"),
    "copied": N_("attention to earlier copies of the token that comes next, on text of the training"),
}
WEAKEST_SCALE = 0.1
"""The score of the strongest glyph at least, so that noise is not drawn as much."""


def head_checkpoints_json(answer: Sequence["CheckpointHeads"]) -> dict[str, Any]:
    """The checkpoints in order, each with [layers][heads] of every score; null where it is not known."""
    return {"lens": "heads", "checkpoints": [asdict(each) for each in answer]}


def head_checkpoints_lines(answer: Sequence["CheckpointHeads"]) -> Iterator[str]:
    """For each score one row for each head, with a column for each checkpoint, and three of its values."""
    first, last = _title(answer[0]), _title(answer[-1])
    yield (
        _("scores of heads over {count} checkpoints: {first} to {last}").format(
            count=len(answer), first=first, last=last
        )
        if len(answer) > 1
        else _("scores of heads of one checkpoint: {first}").format(first=first)
    )
    for kind, meaning in KINDS.items():
        grids = [getattr(each, kind) for each in answer]
        values = {
            (layer, head): [grid[layer][head] for grid in grids]
            for layer, row in enumerate(grids[0])
            for head in range(len(row))
        }
        if any(None in row for row in values.values()):
            yield from ("", _("{kind}: known only for checkpoints of your own trainings").format(kind=kind))
            continue
        scale = max(WEAKEST_SCALE, *(value for row in values.values() for value in row))
        yield from ("", f"{kind}: {_(meaning)}")
        yield (
            f"{_('head'):<7} {f'█ = {scale:.2f}':<{max(len(answer), 9)}} "
            f"{_('first'):>7} {_('last'):>7}  {_('largest'):>7}"
        )
        for (layer, head), row in values.items():
            drawn = "".join(glyph(value / scale) for value in row)
            drawn += " " * (max(len(answer), 9) - cell_len(drawn))
            most = max(range(len(row)), key=row.__getitem__)
            numbers = f"{row[0]:>7.3f} {row[-1]:>7.3f}  {row[most]:>7.3f} " + _("at {place}").format(
                place=_title(answer[most])
            )
            yield f"{f'{layer}.{head}':<7} {drawn} {numbers}"


def _title(each: "CheckpointHeads") -> str:
    """The step of a checkpoint, or the name of a model whose step is not known."""
    return one_line(each.name) if each.step is None else _("step {step:,}").format(step=each.step)

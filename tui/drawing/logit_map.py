"""The map of the logit lens as heat maps: one for each quantity that its cells have, and the words for a cell."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from core.language import N_, _
from tui.drawing.heat_map import NUMBERED, HeatMap
from tui.drawing.parts import part_name
from tui.drawing.text import label, percent, within

if TYPE_CHECKING:
    from core.lenses.logit import LogitMap, MapCell

WIDEST = 10
"""Width of a cell with a token at most."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number that every cell of a map has."""

    title: str
    """`{target}` and `{against}` stand for the two tokens."""
    value: "Callable[[MapCell], float]"
    labelled: bool = False
    """Whether cells show their likeliest tokens in place of the number."""
    scale: float | None = None
    """The size with the strongest color; None for the largest size there is."""
    signed: bool = False

    def name(self, drawn: "LogitMap") -> str:
        """The title with the tokens of a map."""
        target, against = (within(label(each.piece), 14) for each in (drawn.target, drawn.against))
        return _(self.title).replace("{target}", target).replace("{against}", against)


QUANTITIES = (
    Quantity(N_("likeliest token, color = its probability"), lambda cell: cell.top[0].probability, True, 1.0),
    Quantity(N_("likeliest token, color = entropy, bits"), lambda cell: cell.entropy_bits, True),
    Quantity(N_("KL(output ‖ layer), bits"), lambda cell: cell.kl_bits),
    Quantity(N_("probability of {target}"), lambda cell: cell.target_probability, scale=1.0),
    Quantity(N_("rank of {target}, log10"), lambda cell: math.log10(cell.target_rank + 1)),
    Quantity(N_("logit {target} − {against}, nats"), lambda cell: cell.difference, signed=True),
)


def heat_map(drawn: "LogitMap", quantity: Quantity) -> HeatMap:
    """One quantity of a map: layers by positions, from the embedding down to the last block."""
    labelled = quantity.labelled
    return HeatMap(
        rows=tuple(part_name(name.removeprefix("block ")) for name in drawn.names),
        columns=tuple(label(piece) for piece in drawn.pieces),
        values=tuple(tuple(map(quantity.value, row)) if row else (None,) * len(drawn.pieces) for row in drawn.rows),
        scale=quantity.scale,
        signed=quantity.signed,
        texts=tuple(tuple(label(cell.top[0].piece) for cell in row) for row in drawn.rows) if labelled else (),
        narrowest=NUMBERED if labelled else 1,
        widest=WIDEST,
    )


def cell_words(drawn: "LogitMap", row: int, column: int, width: int) -> tuple[str, str]:
    """The numbers of a cell, and in `width` cells its likeliest tokens; empty where it is not known yet."""
    if not drawn.rows[row]:
        return "", ""
    cell, target = drawn.rows[row][column], within(label(drawn.target.piece), 14)
    against = within(label(drawn.against.piece), 14)
    numbers = _(
        "H {entropy:.2f} · KL {kl:.2f} bits · {target} {share} rank {rank:,}, −{against} {difference:+.2f}"
    ).format(
        entropy=cell.entropy_bits,
        kl=cell.kl_bits,
        target=target,
        share=percent(cell.target_probability, 2),
        rank=cell.target_rank + 1,
        against=against,
        difference=cell.difference,
    )
    tokens = [f"{within(label(each.piece), 12)} {percent(each.probability, 2)}" for each in cell.top]
    while len(tokens) > 1 and cell_len("  ".join(tokens)) > width:
        tokens.pop()
    return numbers, "  ".join(tokens)

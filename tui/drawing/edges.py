"""Draws the edges of a circuit as plain text: what each part reads, and the grid of all heads and MLPs."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from core.language import _
from tui.drawing.parts import part_name
from tui.drawing.text import fit

if TYPE_CHECKING:
    from core.lenses.circuit import Edge

NODE = 10
"""Cells of a name."""
WRITES, ABSENT = "●", "·"


def node_order(name: str) -> tuple[int, int, int]:
    """Sorts senders and receivers in the order in which they run: embedding, 0.h0 …, 0.mlp, 1.h0 …, logits."""
    if name == "embedding":
        return (-1, 0, 0)
    if name == "logits":
        return (10**9, 0, 0)
    layer, _unused, part = name.partition(".")
    number = part.lstrip("abcdefghijklmnopqrstuvwxyz")
    return (int(layer), int(part == "mlp"), int(number or 0))


def by_receiver(edges: "Sequence[Edge]", width: int) -> Iterator[tuple[str, str]]:
    """For each receiver its name, and its inputs with their scores, the strongest first; the last receivers first.

    Inputs that need more than `width` cells continue on further lines, whose name is blank.
    """
    inputs: dict[str, list[Edge]] = {}
    for edge in edges:
        inputs.setdefault(edge.receiver, []).append(edge)
    for receiver in sorted(inputs, key=lambda name: (node_order(name), name), reverse=True):
        line, head = "", fit(part_name(receiver), NODE)
        for edge in inputs[receiver]:
            word = f"{part_name(edge.sender)} {edge.score:+.2f}"
            if line and NODE + 2 + len(line) + 3 + len(word) > width:
                yield head, f"{'← ' if head.strip() else '  '}{line}"
                line, head = "", " " * NODE
            line = f"{line}   {word}" if line else word
        yield head, f"{'← ' if head.strip() else '  '}{line}"


def grid(parts: Sequence[str], edges: "Sequence[Edge]") -> Iterator[str]:
    """One row for each block, the last first: which of its heads and MLP write an edge."""
    writers = {edge.sender for edge in edges}
    blocks: dict[int, list[str]] = {}
    for part in parts:
        blocks.setdefault(int(part.partition(".")[0]), []).append(part)
    heads = max((len(names) for names in blocks.values()), default=0)
    names = blocks.get(0, [])
    titles = "".join(f"{name.partition('.')[2]:>4}" for name in names)
    yield f"{fit(_('block'), 5)} {titles}"
    for block in sorted(blocks, reverse=True):
        cells = "".join(f"{WRITES if name in writers else ABSENT:>4}" for name in blocks[block])
        yield f"{block:>5} {cells}".ljust(6 + 4 * heads)

"""Draws how the rows of a tree hang together."""

from collections.abc import Sequence


def tree_tips(depths: Sequence[int], *, more: bool = False) -> list[str]:
    """The mark of each row of a tree in preorder, by its depth: `└` for a last child, `├` for others, `╶` for a root.

    With `more`, rows follow that are not listed, so that a row counts as a last child only where a listed one shows it.
    """
    tips = list[str]()
    siblings = set(range(max(depths, default=0) + 1)) if more else set[int]()
    for depth in reversed(depths):
        tips.append("╶" if not depth else "├" if depth in siblings else "└")
        siblings = {each for each in siblings if each < depth} | {depth}
    return tips[::-1]

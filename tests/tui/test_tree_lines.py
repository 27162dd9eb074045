"""The marks of a tree's rows, against a brute-force search for later siblings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.drawing.tree import tree_tips


@pytest.mark.parametrize(
    ("depths", "tips"),
    [
        ([], ""),
        ([0], "╶"),
        ([0, 1, 1], "╶├└"),
        ([0, 1, 2, 2, 1], "╶├├└└"),
        ([0, 1, 2, 3, 1, 2], "╶├└└└└"),
    ],
)
def test_a_last_child_has_a_corner(depths: list[int], tips: str) -> None:
    assert "".join(tree_tips(depths)) == tips


@given(st.lists(st.integers(0, 4), max_size=12))
def test_a_row_has_a_corner_exactly_where_no_sibling_follows(depths: list[int]) -> None:
    for n, (depth, tip) in enumerate(zip(depths, tree_tips(depths), strict=True)):
        later = next((each for each in depths[n + 1 :] if each <= depth), -1)
        assert tip == ("╶" if not depth else "├" if later == depth else "└")


def test_rows_that_are_not_listed_may_be_siblings() -> None:
    assert "".join(tree_tips([0, 1, 2, 2, 1], more=True)) == "╶├├└├"

"""Heat maps: what a cell shows, how labels are cut, and the lines of a page with a cursor."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text
from textual.app import App, ComposeResult

import tui
from tui import themes
from tui.drawing.heat_map import (
    ABOVE,
    BELOW,
    MISSING,
    HeatMap,
    cell,
    cell_width,
    glyph,
    labels,
    legend,
    marked,
    number,
    window,
)
from tui.lenses.base import HeatMapPage

WORDS = ("When", "·Mary", "·and", "·John", "·went", "·字", "·to")


def test_a_glyph_tells_sign_and_size_without_color() -> None:
    assert [glyph(share) for share in (0.0, 0.1, 0.3, 0.6, 1.2)] == list(ABOVE)
    assert [glyph(share) for share in (-0.01, -0.1, -0.3, -0.6, -1.2)] == list(BELOW)
    assert not set(ABOVE.strip()) & set(BELOW.strip() + MISSING)


@given(st.floats(-1e9, 1e9), st.floats(0.01, 10), st.integers(1, 9))
def test_a_cell_has_its_width(value: float, strongest: float, width: int) -> None:
    assert len(cell(value, strongest, width)) == len(marked(cell(value, strongest, width))) == width
    assert cell(None, strongest, width).strip() == MISSING


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.42, ".42"), (-0.42, "-.42"), (1.024, "1.02"), (-1.024, "-1.0"), (0.001, "0"), (123.4, "123"), (-2e4, "-2e4"),
     (0.999, "1.00"), (math.nan, "nan"), (-0.004, "0"), (10.5, "10.5")],
)  # fmt: skip
def test_a_number_in_four_cells(value: float, shown: str) -> None:
    assert number(value) == shown


@given(st.integers(1, 200), st.integers(0, 199), st.integers(1, 60), st.integers(0, 300))
def test_the_window_of_columns_holds_the_cursor_and_is_full(count: int, at: int, room: int, first: int) -> None:
    at = min(at, count - 1)
    shown = window(count, at, room, first)
    assert at in shown
    assert len(shown) == min(room, count)
    assert shown.start >= 0
    assert shown.stop <= count


def test_columns_are_as_wide_as_there_is_room() -> None:
    assert [cell_width(10, room) for room in (5, 10, 25, 60, 500)] == [1, 1, 2, 6, 7]


def test_labels_are_written_downwards_over_narrow_columns() -> None:
    assert labels(("·to", "Mary", ","), 2, 4) == ["  M   ", "· a   ", "t r   ", "o y , "]


def test_a_long_label_loses_its_space_and_then_its_end() -> None:
    assert labels(("·Mary", "·drinking"), 1, 4) == ["Md", "ar", "ri", "y…"]


def test_labels_over_numbers_are_aligned_as_the_numbers_are() -> None:
    assert labels(("·to", "·Mary"), 6, 4) == ["   ·to ·Mary"]


def test_a_label_that_has_room_but_for_its_space_stays_in_one_line() -> None:
    assert labels(("·prefer", "·oat"), 7, 4) == [" prefer   ·oat"]
    assert labels(("·prefers", "·oat"), 7, 4) == [" ·prefe       ", "     rs   ·oat"]


@given(st.lists(st.text(st.sampled_from("a·字é"), max_size=9), max_size=8), st.integers(1, 8), st.integers(1, 6))
def test_lines_of_labels_have_the_width_of_their_columns(words: list[str], width: int, height: int) -> None:
    lines = labels(words, width, height)
    assert len(lines) <= height
    assert {cell_len(line) for line in lines} <= {width * len(words)}


def test_the_legend_shows_both_halves_of_a_signed_map() -> None:
    signed = "".join(words for words, _ in legend(2.5, True))
    assert signed == "−2.5 ≡═─╌ 0 ░▒▓█ +2.5"
    assert "".join(words for words, _ in legend(1, False)) == "0 ░▒▓█ 1"


def test_a_map_without_a_scale_ends_at_its_largest_size() -> None:
    assert HeatMap(("a",), ("b", "c", "d"), ((-3.0, 1.0, None),)).strongest == 3
    assert HeatMap(("a",), ("b",), ((0.0,),)).strongest == 1


class Page(HeatMapPage[HeatMap]):
    NAME = "page"

    def heat_map(self) -> HeatMap | None:
        return self.answer

    def lines(self, answer: HeatMap, width: int, height: int) -> Iterator[Text]:
        return self.map_lines(answer, width, height)


class PageApp(App[None]):
    CSS_PATH = Path(tui.__file__).with_name("app.tcss")

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return themes.HEAT

    def compose(self) -> ComposeResult:
        yield Page()


VALUES = tuple(
    tuple(None if (row, column) == (3, 6) else row / 4 - column / 3 for column in range(7)) for row in range(6)
)


async def test_a_page_draws_the_map_and_moves_its_cursor() -> None:
    app = PageApp()
    async with app.run_test(size=(26, 12)) as pilot:
        page = app.query_one(Page)

        def drawn() -> list[str]:
            return [page.render_line(y).text.rstrip() for y in range(len(page._drawn))]

        page.answer = HeatMap(tuple(map(str, range(6))), WORDS, VALUES, 1.0)
        page.draw()
        first = drawn()
        assert first[:4] == ["   W M · J w", "   h a a o e   ·", "   e r n h n · t", "   n y d n t ¤ o"]
        assert first[4] == "›0 ‹›──══≡≡≡≡≡≡≡≡"
        assert first[-1].startswith("   −1 ≡═─╌ 0 ░▒▓█ +1")
        page.adjust(0, 99)
        page.move(3)
        assert (page.cursor, page.column) == (3, 6)
        assert [line[-2:] for line in drawn() if line.startswith("›3")] == ["‹›"]
        page.move(99)
        page.adjust(-1, -99)
        assert (page.cursor, page.column) == (4, 0)
        await pilot.resize_terminal(70, 20)
        assert "›4" in "".join(line[:2] for line in drawn())
        assert any(".42" in line for line in drawn())


async def test_no_value_moves_when_another_becomes_known() -> None:
    app = PageApp()
    async with app.run_test(size=(40, 14)):
        page = app.query_one(Page)
        page.answer = HeatMap(tuple(map(str, range(6))), WORDS, ((None,) * 7,) * 6, 1.0)
        page.draw()
        empty = [page.render_line(y).text for y in range(len(page._drawn))]
        page.answer = HeatMap(tuple(map(str, range(6))), WORDS, VALUES, 1.0)
        page.draw()
        full = [page.render_line(y).text for y in range(len(page._drawn))]
        assert [line[:3] for line in empty] == [line[:3] for line in full]
        assert empty[:2] == full[:2]


async def test_colors_tell_the_sign() -> None:
    app = PageApp()
    async with app.run_test(size=(40, 14)):
        page = app.query_one(Page)
        above, below = (page.signed_tint(share, readable=False).color for share in (1.0, -1.0))
        assert above is not None
        assert below is not None
        assert above.triplet is not None
        assert below.triplet is not None
        assert above.triplet.red > above.triplet.blue
        assert below.triplet.blue > below.triplet.red

"""A click does what the keys do: it picks and takes candidates, travels, visits branches, chooses rows and cells."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual import events
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import OptionList

from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp
from tui.screens.lens_index import LensIndex

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
BLOCKS = ModelChoice(name="model5", tokenizer="bytes", device="cpu")


@pytest.fixture
def click(settle: Go) -> Callable[..., Awaitable[None]]:
    """Click a cell inside the border of a panel, and wait until all it asked for is done and drawn."""

    async def go(pilot: Pilot[None], panel: Widget, x: int, y: int) -> None:
        left, top = panel.content_region.offset - panel.region.offset
        await pilot.click(panel, offset=(left + x, top + y))
        await settle(pilot)

    return go


def spot(panel: Widget, words: str, lines: list[str]) -> tuple[int, int]:
    """Where a panel shows some words."""
    return next((line.index(words), y) for y, line in enumerate(lines) if words in line)


def wheel(panel: Widget, down: bool) -> None:
    kind = events.MouseScrollDown if down else events.MouseScrollUp
    x, y = panel.region.offset + Offset(2, 2)
    panel.post_message(kind(panel, 2, 2, 0, 1 if down else -1, 0, False, False, False, x, y))


async def test_the_first_click_picks_a_candidate_and_the_second_takes_it(real: Make, settle: Go, click: Go) -> None:
    async with real("oat").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await settle(pilot)
        count = len(app.frame.snapshot.tokens)
        await click(pilot, app.candidates, 20, 4)
        assert app.candidates.candidate.rank == 3
        assert len(app.frame.snapshot.tokens) == count
        chosen = app.candidates.candidate.id
        await click(pilot, app.candidates, 2, 4)
        assert [token.id for token in app.frame.snapshot.tokens[count:]] == [chosen]
        await click(pilot, app.candidates, 20, 1)
        assert len(app.frame.snapshot.tokens) == count + 1, "one click on the first candidate takes nothing"
        await click(pilot, app.candidates, 20, 0)
        await click(pilot, app.candidates, 20, app.candidates.size.height - 1)
        assert len(app.frame.snapshot.tokens) == count + 1, "neither the head nor the others are candidates"


async def test_a_click_in_the_chart_beside_a_lens_acts_on_the_chart(real: Make, settle: Go, click: Go) -> None:
    async with real("oat").run_test(size=(150, 42)) as pilot:
        app = pilot.app
        await settle(pilot)
        app.turn_to("flow")
        await settle(pilot)
        await click(pilot, app.candidates, 20, 3)
        assert app.candidates.candidate.rank == 2
        assert app.focused is app.candidates
        await click(pilot, app.lens, 4, 4)
        assert app.focused is app.lens
        assert app.lens.cursor > 0
        assert app.candidates.candidate.rank == 2


async def test_a_click_on_a_token_travels_there(real: Make, settle: Go, press: Go, click: Go, panel_lines: Any) -> None:
    async with real("oat milk").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "space", "space")
        x, y = spot(app.tokens, " t ", panel_lines(app.tokens))
        for line, step in ((y, 1), (y + 1, 0)):
            await click(pilot, app.tokens, x + step, line)
            assert app.frame.snapshot.cursor == 3
            await press(pilot, "end")
        x, y = spot(app.generation, "milk", panel_lines(app.generation))
        await click(pilot, app.generation, x + 1, y)
        assert app.frame.snapshot.cursor == len("oat mi")
        await click(pilot, app.tokens, app.tokens.columns - 1, app.tokens.size.height - 1)
        assert app.frame.snapshot.cursor == len("oat mi"), "nothing stands there"


async def test_selecting_text_by_a_drag_does_not_travel(real: Make, settle: Go, panel_lines: Any) -> None:
    async with real("oat milk").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await settle(pilot)
        before = app.frame.snapshot.cursor
        await pilot.mouse_down(app.generation, offset=(3, 1))
        await pilot.hover(app.generation, offset=(6, 1))
        await pilot.mouse_up(app.generation, offset=(6, 1))
        await settle(pilot)
        assert app.frame.snapshot.cursor == before


async def test_a_click_on_a_branch_visits_it(real: Make, settle: Go, press: Go, click: Go) -> None:
    async with real("oat").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "1", "u", "2", "b")
        rows = app.lens.answer.rows
        other = next(n for n, row in enumerate(rows) if not row.on_path)
        last = app.frame.snapshot.tokens[-1].id
        await click(pilot, app.lens, 8, other + 1)
        assert app.lens.answer.current == other
        assert app.frame.snapshot.tokens[-1].id != last


async def test_a_click_on_a_row_of_a_lens_chooses_it_and_the_next_acts(real: Make, settle: Go, click: Go) -> None:
    async with real("oat", BLOCKS).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await settle(pilot)
        app.turn_to("flow")
        await settle(pilot)
        await click(pilot, app.lens, 60, 4)
        assert app.lens.cursor == 1, "each stage has two lines"
        assert len(app.screen_stack) == 1
        await click(pilot, app.lens, 5, 3)
        assert len(app.screen_stack) == 2, "the source of the stage is open"


async def test_a_click_on_a_cell_of_a_heat_map_moves_both_cursors(real: Make, settle: Go, click: Go) -> None:
    async with real("oat", BLOCKS).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await settle(pilot)
        app.turn_to("heads")
        await settle(pilot)
        await click(pilot, app.lens, *cell(app.lens, 1, 2))
        assert app.lens.cell_at_cursor() == (1, 2)
        await click(pilot, app.lens, *cell(app.lens, 1, 2))
        assert app.lens.NAME == "attention"
        assert (app.lens.chosen_layer, app.lens.chosen_head) == (1, 2)


def cell(lens: Widget, row: int, column: int) -> tuple[int, int]:
    """Where a page draws a cell of its map."""
    for y in range(lens.size.height):
        x = 0
        for segment in lens.render_line(y):
            meta = segment.style.meta if segment.style else {}
            if (meta.get("row"), meta.get("column")) == (row, column):
                return x, y
            x += segment.cell_length
    raise AssertionError((row, column))


async def test_the_map_of_the_logit_lens_is_chosen_by_a_click(real: Make, settle: Go, press: Go, click: Go) -> None:
    async with real("oat", BLOCKS).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await settle(pilot)
        app.turn_to("logit")
        await settle(pilot)
        while app.lens.view != "map":
            await press(pilot, "o")
        quantity = app.lens.quantity
        await click(pilot, app.lens, *cell(app.lens, 2, 0))
        assert app.lens.cell_at_cursor() == (2, 0)
        assert app.lens.quantity == quantity


async def test_an_entry_of_the_index_of_lenses_opens_by_a_click(real: Make, settle: Go, press: Go) -> None:
    async with real("oat").run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "I")
        assert isinstance(pilot.app.screen, LensIndex)
        options = pilot.app.screen.query_one(OptionList)
        line = next(n for n, option in enumerate(options.options) if option.id == "branches")
        await pilot.click(options, offset=(8, line))
        await settle(pilot)
        assert pilot.app.lens.NAME == "branches"


async def test_the_wheel_moves_in_the_chart_and_scrolls_the_text(scripted: Make, scenes: Any) -> None:
    pieces = [f" word{n}" for n in range(900)]
    frame = scenes.frame(scenes.tokens(pieces), scenes.chart([f"c{n}" for n in range(30)]), cursor=1)
    async with scripted(frame, text="a").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await pilot.pause()
        for _ in range(3):
            wheel(app.candidates, True)
        await pilot.pause()
        assert app.candidates.candidate.rank == 3
        wheel(app.candidates, False)
        await pilot.pause()
        assert app.candidates.candidate.rank == 2
        for panel in (app.tokens, app.generation):
            before = panel.top
            wheel(panel, True)
            await pilot.pause(0.3)
            assert panel.top > before


async def test_the_wheel_goes_along_the_rows_of_a_lens_without_a_scroll_bar(real: Make, settle: Go, press: Go) -> None:
    async with real("oat", BLOCKS).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await settle(pilot)
        app.turn_to("weights")
        await settle(pilot)
        await press(pilot, "o")
        before = app.lens.cursor
        wheel(app.lens, True)
        await settle(pilot)
        assert app.lens.cursor == before + 1

"""In a wide terminal the lens stands beside the chart; which of the two takes the keys, and what resizing keeps."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
WIDE = (150, 42)


def seen(app: TokenwalkApp) -> set[str]:
    """The panels that have a place on the screen, wholly inside it."""
    panels = (app.prompt, app.tokens, app.candidates, app.generation, app.lens, app.walk.menu)
    return {
        getattr(p, "NAME", "") or p.id
        for p in panels
        if p.display and p.size and p.region in app.screen.region and p.parent.display
    }


FOUR = {"prompt", "tokens", "candidates", "generation"}


@pytest.mark.parametrize(
    ("size", "chart"),
    [
        ((149, 42), False),
        ((150, 42), True),
        ((160, 45), True),
        ((200, 60), True),
        ((240, 70), True),
        ((150, 19), False),
    ],
)
async def test_the_lens_stands_beside_the_chart_from_150_columns_on(
    scripted: Make, scenes: Any, size: tuple[int, int], chart: bool
) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=size) as pilot:
        app = pilot.app
        await pilot.pause()
        app.turn_to("lab")
        await pilot.pause()
        assert app.walk.beside is chart
        assert "lab" in seen(app)
        assert ("candidates" in seen(app)) is chart
        if chart:
            assert seen(app) == FOUR | {"lab"}
            regions = [panel.region for panel in (app.prompt, app.tokens, app.candidates, app.lens, app.generation)]
            for number, one in enumerate(regions):
                assert not any(one.overlaps(other) for other in regions[number + 1 :])
            assert app.lens.region.width > app.candidates.region.width


async def test_until_a_lens_is_chosen_the_index_of_lenses_stands_beside_the_chart(
    scripted: Make, scenes: Any, screen_lines: Callable[[TokenwalkApp], list[str]]
) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=WIDE) as pilot:
        app = pilot.app
        await pilot.pause()
        assert seen(app) == FOUR | {"menu"}
        row = next(y for y, line in enumerate(screen_lines(app)) if "  flow  " in line)
        await pilot.click(offset=(app.walk.menu.region.x + 10, row))
        await pilot.pause()
        assert (app.lens.NAME, app.focused) == ("flow", app.lens)
        assert seen(app) == FOUR | {"flow"}
        await pilot.resize_terminal(120, 36)
        await pilot.pause()
        app.turn_to("candidates")
        await pilot.pause()
        assert seen(app) == FOUR


async def test_the_guess_lens_hides_the_chart_which_tells_the_answer(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=WIDE) as pilot:
        await pilot.pause()
        await pilot.press("v")
        await pilot.pause()
        assert seen(pilot.app) == FOUR - {"candidates"} | {"guess"}


async def test_a_lesson_takes_the_place_of_the_second_column_unless_there_is_more_room(
    scripted: Make, scenes: Any
) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=WIDE) as pilot:
        app = pilot.app
        await pilot.pause()
        app.walk.add_class("-lesson")
        await pilot.pause()
        assert seen(app) == FOUR
        app.turn_to("lab")
        await pilot.pause()
        assert seen(app) == FOUR - {"candidates"} | {"lab"}
        await pilot.resize_terminal(200, 60)
        await pilot.pause()
        assert seen(app) == FOUR | {"lab"}


async def test_keys_act_on_the_lens_or_the_chart_that_has_the_focus(real: Make, settle: Go, press: Go) -> None:
    choice = ModelChoice(name="model5-trained", device="cpu")
    async with real("I prefer oat milk in", choice).run_test(size=WIDE) as pilot:
        app = pilot.app
        await settle(pilot)
        app.turn_to("flow")
        await settle(pilot)
        before, count = app.candidates.candidate, len(app.frame.snapshot.tokens)
        await press(pilot, "down", "down")
        assert app.lens.cursor == 2
        assert app.candidates.candidate == before
        await press(pilot, "shift+tab")
        assert app.focused is app.candidates
        await press(pilot, "down")
        assert app.candidates.candidate.rank == 1
        assert app.lens.cursor == 2
        chosen = app.candidates.candidate.id
        await press(pilot, "enter")
        assert app.frame.snapshot.tokens[-1].id == chosen
        assert len(app.frame.snapshot.tokens) == count + 1
        await press(pilot, "tab")
        assert app.focused is app.lens
        assert app.lens.answer is not None
        await press(pilot, "tab")
        assert app.focused is app.generation
        await press(pilot, "down")
        assert app.lens.cursor == 3, "the lens had the keys last"


async def test_beside_a_lens_without_rows_the_chart_keeps_picking(real: Make, settle: Go, press: Go) -> None:
    async with real("oat").run_test(size=WIDE) as pilot:
        app = pilot.app
        await settle(pilot)
        app.turn_to("lab")
        await settle(pilot)
        count = len(app.frame.snapshot.tokens)
        await press(pilot, "down")
        assert app.candidates.candidate.rank == 1
        page = str(app.lens.border_title)
        await press(pilot, "o")
        assert str(app.lens.border_title) != page
        await press(pilot, "2")
        assert len(app.frame.snapshot.tokens) == count + 1
        await pilot.resize_terminal(120, 36)
        await settle(pilot)
        await press(pilot, "2")
        assert len(app.frame.snapshot.tokens) == count + 1, "without a chart on the screen nothing is taken"


async def test_resizing_keeps_the_cursors_the_answer_and_the_focus(real: Make, settle: Go, press: Go) -> None:
    async with real("oat").run_test(size=WIDE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "down", "down")
        app.turn_to("flow")
        await settle(pilot)
        await press(pilot, "down")
        answer, candidate = app.lens.answer, app.candidates.candidate
        for size in ((120, 36), (60, 18), (200, 60), (80, 24), WIDE):
            await pilot.resize_terminal(*size)
            await settle(pilot)
            assert app.focused is app.lens
            assert (app.lens.cursor, app.lens.answer, app.candidates.candidate) == (1, answer, candidate)
        assert app.walk.beside


async def test_after_the_chart_had_the_keys_a_smaller_terminal_gives_them_to_the_lens(
    real: Make, settle: Go, press: Go
) -> None:
    async with real("oat").run_test(size=WIDE) as pilot:
        app = pilot.app
        await settle(pilot)
        app.turn_to("flow")
        await settle(pilot)
        await press(pilot, "shift+tab")
        assert app.focused is app.candidates
        await pilot.resize_terminal(120, 36)
        await settle(pilot)
        assert app.focused is app.lens
        await press(pilot, "down")
        assert app.lens.cursor == 1


async def test_both_are_drawn_from_one_frame(real: Make, settle: Go, press: Go) -> None:
    """The chart comes with the walk, the answer with it; each step brings both without a second question."""
    async with real("oat").run_test(size=WIDE) as pilot:
        app = pilot.app
        await settle(pilot)
        app.turn_to("sampler")
        await settle(pilot)
        frames = []
        show = app.walk.show
        app.walk.show = lambda frame: (frames.append(frame), show(frame))[1]
        await press(pilot, "space")
        assert all(frame.answer is not None for frame in frames if frame.activity == "idle" and frame.snapshot.chart)
        assert app.candidates._chart is app.frame.snapshot.chart
        assert app.lens.answer is app.frame.answer

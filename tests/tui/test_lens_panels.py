"""Each lens in the app: it answers for the step on the screen, and its keys change the question."""

from pathlib import Path
from typing import Any

import pytest
from lens_pages import BYTES, DEEP, PROMPT, SIZES, Go, Lines, Make, compare, inert, turn_to
from rich.cells import cell_len

from tui import lenses
from tui.lenses.base import ExperimentPage, Lens
from tui.runner import Refusal

PAGES = [kind for kind in lenses.found() if kind.NAME not in ("candidates", "branches", "continuations", "guess")]
"""Lenses with an answer from the model; the others show what a person did."""


def test_every_file_of_the_folder_is_a_lens_and_the_chart_is_the_first() -> None:
    kinds = lenses.found()
    assert kinds[0].NAME == "candidates"
    assert len({kind.NAME for kind in kinds}) == len({kind.ORDER for kind in kinds}) == len(kinds)
    assert all(kind.TITLE and kind.DESCRIPTION for kind in kinds)
    assert {kind.__module__ for kind in kinds} == {
        f"tui.lenses.{path.stem}" for path in Path(lenses.__path__[0]).glob("*.py") if path.stem != "__init__"
    }


@pytest.mark.parametrize("kind", PAGES, ids=lambda kind: kind.NAME)
async def test_every_lens_answers_at_every_size(
    real: Make, settle: Go, press: Go, panel_lines: Lines, kind: type[Lens]
) -> None:
    """Also where the size changes while it is shown."""
    async with real(PROMPT, DEEP).run_test(size=SIZES[0]) as pilot:
        await settle(pilot)
        pilot.app.act(compare)
        await settle(pilot)
        found = await turn_to(pilot, settle, kind.NAME)
        for size in SIZES:
            await pilot.resize_terminal(*size)
            await settle(pilot)
            assert found.answer is not None
            for _ in range(3):  # each side, with the cursor moved
                lines = panel_lines(found)
                assert sum(bool(line.strip()) for line in lines) >= 3
                assert {cell_len(line) for line in lines} == {found.columns}
                assert inert(lines)
                await press(pilot, "o", "down", "up", "shift+down", "shift+right", "shift+up", "shift+left")
            assert found.answer is not None


async def test_a_lens_answers_or_says_why_not_for_model_1(real: Make, settle: Go, panel_lines: Lines) -> None:
    refusals = {
        "attention": ["model1 has no attention; choose model3 or a later model"],
        "heads": ["model1 has no attention heads; choose model3 or a later model"],
    }
    async with real(PROMPT).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for kind in PAGES:
            found = await turn_to(pilot, settle, kind.NAME)
            lines = [line.strip() for line in panel_lines(found) if line.strip()]
            if kind.NAME in refusals:
                assert lines == refusals[kind.NAME]
            elif found.answer is None:
                assert issubclass(kind, ExperimentPage), kind.NAME
                assert isinstance(pilot.app.frame.answer, Refusal), kind.NAME
            else:
                assert lines, kind.NAME


async def test_hostile_text_is_inert_in_every_lens(real: Make, settle: Go, press: Go, panel_lines: Lines) -> None:
    hostile = "\x1b[2J[/b]\t\x07\u202e字\n[@click=app.quit]"
    async with real(hostile, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        for kind in PAGES:
            found = await turn_to(pilot, settle, kind.NAME)
            for _ in range(3):
                assert inert(panel_lines(found)), kind.NAME
                await press(pilot, "o", "up")


async def test_an_answer_is_replaced_when_the_walk_moves(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        pilot.app.act(compare)
        await settle(pilot)
        for kind in PAGES:
            found = await turn_to(pilot, settle, kind.NAME)
            before = found.answer
            await press(pilot, "left")
            the_same_everywhere = kind.NAME in ("weights", "device", "draft", "heads")
            assert (found.answer is before) == the_same_everywhere, kind.NAME
            assert found.answer is pilot.app.frame.answer
            await press(pilot, "right")


async def test_each_of_several_fast_keys_moves_on_by_one_lens(real: Make, settle: Go) -> None:
    async with real(PROMPT, DEEP).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for _ in range(4):
            pilot.app.simulate_key("full_stop")
        await settle(pilot)
        assert pilot.app.lens.NAME == lenses.found()[4].NAME
        assert pilot.app.focused is pilot.app.lens


async def test_another_model_without_attention_refuses_and_comes_back(real: Make, settle: Go) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "attention")
        for choice, answers in ((BYTES, False), (DEEP, True)):
            pilot.app.do("choosing.load", choice)
            await settle(pilot)
            assert (found.answer is not None) == answers


@pytest.mark.parametrize(("width", "placed"), [(120, True), (56, False)])
async def test_the_title_says_the_place_of_a_lens_where_there_is_room(
    scripted: Make, scenes: Any, width: int, placed: bool
) -> None:
    kinds = [kind.NAME for kind in lenses.found()]
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(width, 36)) as pilot:
        await pilot.pause()
        pilot.app.do("lens.look", "score")
        await pilot.pause()
        place = f" · {kinds.index('score') + 1}/{len(kinds)}" if placed else ""
        assert str(pilot.app.lens.border_title) == f"score{place}"

"""The flow lens in the app: stages unfold, and their source opens."""

from collections.abc import Callable

import pytest
from lens_pages import (
    DEEP,
    PROMPT,
    Go,
    Lines,
    Make,
    turn_to,
)

from tui.app import TokenwalkApp
from tui.dialogs.source import SourceScreen


async def test_a_stage_unfolds_into_its_parts(real: Make, settle: Go, press: Go, panel_lines: Lines) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "flow")
        folded = found.choice_count()
        assert folded == sum(not stage.level for stage in found.answer.stages)
        await press(pilot, "down", "down", "down", "down", "o")
        inside = (
            "norm", "queries, keys, values", "queries", "keys", "values", "scores", "weights", "heads",
            "output projection",
        )  # fmt: skip
        assert found.choice_count() == folded + len(inside)
        assert "B=1 T=" in "\n".join(panel_lines(found))
        await press(pilot, "shift+right")
        assert "B=5 T=8" in "\n".join(panel_lines(found))
        await press(pilot, "down", "o")  # from a part of it
        assert (found.choice_count(), found.cursor) == (folded, 4)


@pytest.mark.parametrize(("width", "shown"), [(120, "a 97   t 116"), (80, "… ")])
async def test_the_row_of_ids_ends_with_the_last_one(
    real: Make, settle: Go, panel_lines: Lines, width: int, shown: str
) -> None:
    """Where not all have room, the first ones are left out, and a sign stands for them."""
    text = "oat" if width == 120 else "oat milk in the morning"
    async with real(text, DEEP).run_test(size=(width, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "flow")
        lines = [line.rstrip() for line in panel_lines(found)]
        last = f"{text[-1]} {ord(text[-1])}"
        (row,) = [line for line in lines if line.endswith(last) and shown in line]
        assert ("…" in row) is (width == 80)


async def test_enter_opens_the_source_beside_its_equation(
    real: Make, settle: Go, press: Go, screen_lines: Callable[[TokenwalkApp], list[str]]
) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await turn_to(pilot, settle, "flow")
        await press(pilot, "down", "down", "down", "down", "enter")
        assert isinstance(pilot.app.screen, SourceScreen)
        shown = "\n".join(screen_lines(pilot.app))
        assert "W_o concat(head" in shown
        assert "class Attention(nn.Module):" in shown
        await press(pilot, "j", "escape")
        assert len(pilot.app.screen_stack) == 1

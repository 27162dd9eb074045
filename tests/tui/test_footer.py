"""The row of keys: what the keys do here, the most useful ones first, whole, and clicks that do the same."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from apps import delivered, until
from lens_pages import DEEP

from tui import lenses
from tui.app import TokenwalkApp
from tui.keys import FOLLOW, FOOTER, WALK
from tui.panels.footer import FooterKey, KeyFooter

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]


def words(app: TokenwalkApp) -> dict[str, str]:
    """What the row says of each label."""
    return {key.label: key.words.strip() for key in app.screen.query_one(KeyFooter).keys}


def test_the_order_of_the_row_names_bindings() -> None:
    assert {id for id in FOOTER if id} <= {binding.id for binding in (*WALK, *FOLLOW)}


@pytest.mark.parametrize("width", [20, 40, 60, 72, 80, 100, 109, 110, 150, 200])
async def test_nothing_is_cut_in_any_width_and_help_is_always_named(
    scripted: Make, scenes: Any, screen_lines: Any, width: int
) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(width, 24)) as pilot:
        await pilot.pause()
        for lens in ("candidates", "sampler", "branches", "circuit", "attention"):
            pilot.app.turn_to(lens)
            await pilot.pause()
            footer = pilot.app.screen.query_one(KeyFooter)
            assert sum(key.cells for key in footer.keys) <= width, lens
            assert footer.keys[-1].label == "?", lens
            line = screen_lines(pilot.app)[-1]
            assert line.rstrip() == "".join(f" {key.label} {key.words} " for key in footer.keys).rstrip(), lens
            if width >= 60:
                assert words(pilot.app)["space"] == "step", lens


async def test_the_row_says_what_the_keys_do_in_a_lens(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(200, 24)) as pilot:
        await pilot.pause()
        said = words(pilot.app)
        assert (said["↑↓"], said["⏎"]) == ("pick", "take")
        for lens in lenses.found():
            pilot.app.turn_to(lens.NAME)
            await pilot.pause()
            said, keys = words(pilot.app), lens.KEYS
            if not lens.PICKS:
                assert (said["↑↓"], said["⏎"]) == ("pick", "take"), "the chart beside it keeps picking"
            else:
                assert (said.get("↑↓", ""), said.get("⏎", "")) == (keys.move, keys.choose), lens
            assert said.get("o", "") == keys.view
            assert (said.get("⇧↑↓", ""), said.get("⇧←→", "")) == (keys.down, keys.across)
        pilot.app.turn_to("lab")
        await pilot.resize_terminal(120, 36)
        await pilot.pause()
        assert words(pilot.app)["↑↓"] == "scroll"
        assert "⏎" not in words(pilot.app)


async def test_in_the_prompt_the_row_names_both_keys_that_leave_it(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="").run_test(size=(60, 18)) as pilot:
        await pilot.pause()
        assert pilot.app.writing
        assert words(pilot.app) == {"^j": "new line", "⏎ esc": "walk"}


async def test_the_index_of_lenses_is_named_in_every_lens(scripted: Make, scenes: Any) -> None:
    """Also in those with keys of their own, which stand after it."""
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(110, 30)) as pilot:
        for lens in lenses.found():
            pilot.app.turn_to(lens.NAME)
            await pilot.pause()
            assert words(pilot.app).get("I") == "index", lens


@pytest.mark.parametrize("keys", [("c", "escape"), ("t", "escape"), ("F",)])
async def test_a_message_does_not_cover_the_row(
    scripted: Make, scenes: Any, screen_lines: Any, keys: tuple[str, ...]
) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(100, 30), notifications=True) as pilot:
        await pilot.press(*keys)
        await delivered(pilot)
        row = screen_lines(pilot.app)[-1]
        assert "close" in row
        pilot.app.notices.inform("something was done")
        await until(lambda: any("something was done" in line for line in screen_lines(pilot.app)))
        assert screen_lines(pilot.app)[-1] == row


async def test_while_tokens_are_generated_g_pauses_and_the_other_keys_keep_their_places(
    scripted: Make, scenes: Any, screen_lines: Any
) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        before = screen_lines(pilot.app)[-1]
        pilot.app.runner.show(replace(scenes.oat_milk(), activity="generating"))
        await pilot.pause()
        assert words(pilot.app)["g"] == "pause"
        after = screen_lines(pilot.app)[-1]
        assert after.replace("pause", "run  ") == before


async def test_a_click_on_a_key_does_what_the_key_does(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await pilot.pause()
        footer = app.screen.query_one(KeyFooter)

        async def click(label: str, cell: int = 1) -> None:
            left = 0
            for key in footer.keys:
                if key.label == label:
                    await pilot.click(footer, offset=(left + cell, 0))
                    await pilot.pause()
                    return
                left += key.cells
            raise AssertionError(label)

        count = len(app.runner.operations)
        await click("space", 7)
        assert len(app.runner.operations) == count + 1
        await click("↑↓", 2)
        await click("↑↓", 2)
        assert app.candidates.candidate.rank == 2
        await click("↑↓", 1)
        assert app.candidates.candidate.rank == 1
        await click(".")
        assert app.lens.NAME == lenses.found()[1].NAME
        await click("?")
        assert len(app.screen_stack) == 2


def test_a_label_of_two_keys_tells_which_one_was_clicked() -> None:
    key = FooterKey(("left_square_bracket", "right_square_bracket"), "[ ]", "T", True)
    assert [key.key_at(x) for x in (1, 2, 3, 4)] == ["left_square_bracket"] * 2 + ["right_square_bracket"] + [
        "left_square_bracket"
    ]


async def test_a_key_that_a_person_has_bound_otherwise_is_named(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        pilot.app.set_keymap({"walk.step": "J"})
        pilot.app.refresh_bindings()
        await pilot.pause()
        assert words(pilot.app)["J"] == "step"


@pytest.mark.parametrize("size", [(80, 24), (150, 42)])
async def test_titles_and_hints_of_lenses_are_whole_in_their_borders(
    real: Make, settle: Go, screen_lines: Any, size: tuple[int, int]
) -> None:
    async with real("oat milk", DEEP).run_test(size=size) as pilot:
        app = pilot.app
        await settle(pilot)
        for lens in lenses.found():
            if lens.NAME in ("device", "ladder"):  # they measure for seconds, and have few words
                continue
            app.turn_to(lens.NAME)
            await settle(pilot)
            lines = screen_lines(app)
            for words in (str(app.lens.border_title), str(app.lens.border_subtitle or "")):
                assert not words or any(f" {words} " in line for line in lines), (lens.NAME, words)
                assert "…" not in words or words.endswith(" …"), (lens.NAME, words)

"""Lenses and actions are found: by the index of lenses, and by words of the command palette."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.widgets import OptionList

from core import language
from tui import lenses
from tui.app import TokenwalkApp
from tui.palette import ALSO, PaletteCommands
from tui.screens.lens_index import LensIndex
from tui.settings import Settings

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]


def test_every_lens_stands_in_one_group_and_has_other_words() -> None:
    for lens in lenses.found():
        assert lens.GROUP in lenses.GROUPS, lens
        assert lens.ALSO, lens


async def test_the_index_lists_every_lens_and_opens_one(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        await pilot.press("I")
        await pilot.pause()
        assert isinstance(pilot.app.screen, LensIndex)
        options = pilot.app.screen.query_one(OptionList)
        listed = {option.id for option in options.options if option.id}
        assert listed == {lens.NAME for lens in lenses.found()}
        options.highlighted = options.get_option_index("attention")
        await pilot.press("enter")
        await pilot.pause()
        assert pilot.app.walk.lens.NAME == "attention"
        await pilot.press("I", "escape")
        await pilot.pause()
        assert len(pilot.app.screen_stack) == 1


@pytest.mark.parametrize("spoken", language.languages())
async def test_the_index_tells_all_of_what_a_lens_shows(
    scripted: Make, scenes: Any, screen_lines: Any, spoken: str
) -> None:
    """In a line each from 100 columns on, in as many as it needs below."""
    language.speak(spoken)
    for size in ((80, 90), (100, 45)):
        async with scripted(scenes.oat_milk(), text="a").run_test(size=size) as pilot:
            await pilot.press("I")
            await pilot.pause()
            lines = screen_lines(pilot.app)
            options = pilot.app.screen.query_one(OptionList).options
            listed = {option.id: " ".join(str(option.prompt).split()) for option in options if option.id}
            for lens in lenses.found():
                told = language._(lens.DESCRIPTION)
                assert listed[lens.NAME].endswith(told)
                assert size[0] < 100 or any(told in line for line in lines), told


async def test_typing_filters_the_index_and_the_border_follows_the_cursor(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        await pilot.press("I")
        await pilot.pause()
        screen, names = pilot.app.screen, [lens.NAME for lens in lenses.found()]
        options, dialog = screen.query_one(OptionList), screen.query_one(".dialog")
        assert str(dialog.border_title).endswith(f"1/{len(names)}")
        await pilot.press("down")
        await pilot.pause()
        second = options.get_option_at_index(options.highlighted).id
        assert str(dialog.border_title).endswith(f"{names.index(second) + 1}/{len(names)}")
        await pilot.press(*"saliency")
        await pilot.pause()
        assert [option.id for option in options.options] == [None, "gradients"]
        assert str(options.get_option_at_index(1).prompt).startswith("›")
        assert str(dialog.border_title).endswith(f"{names.index('gradients') + 1}/{len(names)}")
        await pilot.press("z")
        await pilot.pause()
        assert options.highlighted is None
        await pilot.press("enter", "backspace", "enter")
        await pilot.pause()
        assert pilot.app.walk.lens.NAME == "gradients"


async def test_the_picker_marks_the_sampler_that_draws_alike_and_the_cursor(scripted: Make, scenes: Any) -> None:
    """The usual sampler has more stages than `article`, but none of them changes anything."""
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        await pilot.press("P")
        await pilot.pause()
        options = pilot.app.screen.query_one(OptionList)
        marks = {option.id: str(option.prompt)[:2] for option in options.options}
        assert marks["article"] == "›●"
        assert {mark for name, mark in marks.items() if name != "article"} == {"  "}
        await pilot.press("down")
        await pilot.pause()
        marks = {option.id: str(option.prompt)[:2] for option in options.options}
        assert (marks["article"], marks["transformers"]) == (" ●", "› ")


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("logit lens", "logit lens"),
        ("ablate", "Patch parts of the model"),
        ("perplexity", "score"),
        ("constraint", "Hold the text to a regex"),
        ("gpu", "Choose a device"),
        ("beam", "Search"),
        ("heads", "attention"),
        ("tree", "branches"),
        ("language", "Language"),
        ("viet", "Language"),
        ("share", "Share the walk"),
        ("atention", "attention"),
    ],
)
async def test_the_palette_finds_by_other_words(scripted: Make, scenes: Any, query: str, first: str) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        provider = PaletteCommands(pilot.app.screen)
        hits = sorted([hit async for hit in provider.search(query)], key=lambda hit: -hit.score)
        assert any(first in str(hit.match_display) for hit in hits[:3])


async def test_the_palette_names_the_keys_of_the_settings(scripted: Make, scenes: Any) -> None:
    app = scripted(
        scenes.oat_milk(), text="a", settings=Settings(keys={"walk.step": "f5", "walk.pick_up": "ctrl+up,w"})
    )
    async with app.run_test(size=(80, 24)) as pilot:
        helps = {command.title: command.help for command in pilot.app.get_system_commands(pilot.app.screen)}
        assert helps["Sample one token"] == "key f5"
        assert helps["Move to a likelier candidate"] == "key ^up w"
        assert helps["Move to a less likely candidate"] == "key ↓ j"


@pytest.mark.parametrize("query", ["xyzzy", "logit xyzzy"])
async def test_a_word_that_is_like_no_command_finds_none(scripted: Make, scenes: Any, query: str) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        assert [hit async for hit in PaletteCommands(pilot.app.screen).search(query)] == []


def test_the_round_of_lenses_has_the_order_of_the_index() -> None:
    groups = [lenses.GROUPS.index(lens.GROUP) for lens in lenses.found()]
    assert groups == sorted(groups) and lenses.found()[0].NAME == "candidates"


def test_other_words_belong_to_actions_that_exist() -> None:
    from tui.keys import WALK

    assert set(ALSO) <= {binding.id for binding in WALK}


async def test_a_first_start_welcomes_with_keys_of_the_present_mode(scripted: Make, panel_lines: Any) -> None:
    async with scripted(text="").run_test(size=(80, 24)) as pilot:
        pilot.app.state.first_start = True
        pilot.app.walk.show_status()
        await pilot.pause()
        shown = " ".join(panel_lines(pilot.app.walk.generation))
        assert "one token at a time." in " ".join(shown.split())
        assert "begins the walk" in shown
        assert "every key" not in shown  # it would be typed into the prompt
        await pilot.press("enter")
        await pilot.pause()
        assert "every key" in " ".join(panel_lines(pilot.app.walk.generation))

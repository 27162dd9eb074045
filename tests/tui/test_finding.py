"""Lenses and actions are found: by the index of lenses, and by words of the command palette."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.widgets import OptionList

from core import language
from tui import lenses
from tui.app import TokenwalkApp
from tui.screens.lens_index import LensIndex
from tui.screens.palette import ALSO
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


@pytest.mark.parametrize("spoken", language.languages())
def test_the_name_of_a_lens_finds_it_in_the_index(spoken: str) -> None:
    """Also where the descriptions of others have the word."""
    language.speak(spoken)
    index = LensIndex(lenses.found()[0], {})
    for lens in lenses.found():
        for name in (lens.TITLE, language._(lens.TITLE)):
            ids = [option.id for option in index.listed(name, 90) if option.id]
            assert index.likeliest(name, ids) == lens.NAME, name


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
        assert str(dialog.border_title) == "lenses · 1", "how many were found"
        await pilot.press("z")
        await pilot.pause()
        assert options.highlighted is None
        assert str(dialog.border_title) == "lenses · 0"
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
        await pilot.press("ctrl+p", *("space" if letter == " " else letter for letter in query))
        await pilot.pause()
        options = pilot.app.screen.query_one(OptionList).options
        assert any(first in str(option.prompt) for option in options[:3])
        assert len(options) <= 20


async def test_the_palette_lists_all_until_something_is_typed(scripted: Make, scenes: Any, screen_lines: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(110, 30)) as pilot:
        await pilot.press("ctrl+p")
        await pilot.pause()
        commands, found = list(pilot.app.commands()), pilot.app.screen.query_one(OptionList)
        assert [str(option.prompt).split("  ")[0] for option in found.options][:2] == ["›esc", " space"]
        assert found.option_count == len(commands)
        dialog = pilot.app.screen.query_one(".dialog")
        assert str(dialog.border_title) == f"commands · {len(commands)}"
        region = dialog.region
        await pilot.press("end")
        await pilot.pause()
        assert any("›" in line and commands[-1].title in line for line in screen_lines(pilot.app))
        await pilot.press(*"seed")
        await pilot.pause()
        assert "Choose the seed" in str(found.get_option_at_index(0).prompt)
        assert dialog.region == region
        assert str(dialog.border_title) == f"commands · {found.option_count}"
        await pilot.press("backspace", "backspace", "backspace")
        await pilot.pause()
        assert found.option_count == 20
        assert re.fullmatch(r"commands · 20 of [2-9]\d", str(dialog.border_title))
        await pilot.press("e", "home")
        await pilot.pause()
        assert found.highlighted == 0


async def test_a_click_in_the_palette_runs_a_command(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(110, 30)) as pilot:
        await pilot.press("ctrl+p", *"circuit")
        await pilot.pause()
        await pilot.click(OptionList, offset=(5, 0))
        await pilot.pause()
        assert len(pilot.app.screen_stack) == 1
        assert pilot.app.walk.lens.NAME == "circuit"


async def test_a_theme_is_found_by_typing(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p", *"theme", "enter")
        await pilot.pause()
        found = pilot.app.screen.query_one(OptionList)
        assert str(found.highlighted_option.prompt).startswith("›tokenwalk-dark")
        await pilot.press(*"light", "enter")
        await pilot.pause()
        assert pilot.app.theme == "tokenwalk-light"
        await pilot.press("ctrl+p", "escape")
        await pilot.pause()
        assert len(pilot.app.screen_stack) == 1


async def test_the_palette_names_the_keys_of_the_settings(scripted: Make, scenes: Any) -> None:
    app = scripted(
        scenes.oat_milk(), text="a", settings=Settings(keys={"walk.step": "f5", "walk.pick_up": "ctrl+up,w"})
    )
    async with app.run_test(size=(80, 24)) as pilot:
        keys = {command.title: command.key for command in pilot.app.commands()}
        assert keys["Sample one token"] == "f5"
        assert keys["Move to a likelier candidate"] == "^up w"
        assert keys["Move to a less likely candidate"] == "↓ j"


@pytest.mark.parametrize("query", ["xyzzy", "logit xyzzy"])
async def test_a_word_that_is_like_no_command_finds_none(scripted: Make, scenes: Any, query: str) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p", *("space" if letter == " " else letter for letter in query), "enter")
        await pilot.pause()
        (option,) = pilot.app.screen.query_one(OptionList).options
        assert "no command" in str(option.prompt)


async def test_home_and_end_reach_the_first_and_the_last_lens(scripted: Make, scenes: Any, screen_lines: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        await pilot.press("I", "end")
        await pilot.pause()
        options, dialog = pilot.app.screen.query_one(OptionList), pilot.app.screen.query_one(".dialog")
        count = len(lenses.found())
        assert str(dialog.border_title).endswith(f"{count}/{count}")
        await pilot.press("home")
        await pilot.pause()
        assert str(dialog.border_title).endswith(f"1/{count}")
        assert options.scroll_offset.y == 0  # with the heading above it


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

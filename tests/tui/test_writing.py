"""The prompt takes every printable key, and each edit is tokenized at once; tokens before the edit stay."""

import string
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual import events
from textual.widget import Widget

from core.loading.choice import ModelChoice
from core.loading.tokenizers import load_tokenizer
from core.walk.values import PromptForm
from tui.app import TokenwalkApp
from tui.settings import Settings

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[[Widget], list[str]]


def ids(app: TokenwalkApp) -> list[int]:
    return [token.id for token in app.frame.snapshot.tokens]


async def test_the_prompt_is_tokenized_at_each_key(real: Make, settle: Go, write: Go, panel_lines: Lines) -> None:
    tokenizer = load_tokenizer("cl100k")
    async with real(choice=ModelChoice(device="cpu")).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        for typed in ("I", "I p", "I pref", "I prefer", "I prefer 字"):
            await write(pilot, typed[len(pilot.app.prompt.text) :])
            await settle(pilot)
            wanted = tokenizer.encode(typed)
            assert ids(pilot.app) == wanted
            shown = "".join(panel_lines(pilot.app.tokens))
            assert all(str(id) in shown for id in wanted)
            assert pilot.app.frame.snapshot.cursor == len(wanted)


async def test_tokens_are_shown_before_there_is_a_model(scripted: Make, until: Go, panel_lines: Lines) -> None:
    async with scripted().run_test(size=(120, 36)) as pilot:
        await until(lambda: pilot.app.walk.writing_actions._tokenizer)
        await pilot.press(*"oat milk")
        assert [word for word in panel_lines(pilot.app.tokens)[0].split() if word != "·"] == ["o", "at", "·milk"]


async def test_a_line_feed_is_text(real: Make, settle: Go) -> None:
    async with real().run_test(size=(80, 24)) as pilot:
        await pilot.press("a", "ctrl+j", "b")
        await settle(pilot)
        assert ids(pilot.app) == list(b"a\nb")


async def test_no_printable_key_acts_while_the_prompt_is_written(scripted: Make, scenes: Any, write: Go) -> None:
    printable = string.ascii_letters + string.digits + string.punctuation + " "
    async with scripted(scenes.oat_milk(), text="").run_test(size=(80, 24)) as pilot:
        await write(pilot, printable)
        await pilot.press("left", "right", "up", "down", "home", "end")
        app = pilot.app
        assert app.prompt.text == printable
        assert app.is_running
        assert len(app.screen_stack) == 1
        assert app.sampler == app.sampler.__class__()
        assert app.runner.pauses == 0
        assert len(app.runner.operations) == len(printable)
        assert "WRITE" in app.status.render().plain


@pytest.mark.parametrize("key", ["escape", "enter"])
async def test_escape_and_enter_leave_the_prompt_and_i_returns(scripted: Make, scenes: Any, key: str) -> None:
    async with scripted(scenes.oat_milk(), text="").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        assert app.writing
        await pilot.press(key)
        await pilot.pause()
        assert app.focused is app.candidates
        assert app.prompt.text == ""
        assert "WALK" in app.status.render().plain
        await pilot.press("i")
        await pilot.pause()
        assert app.focused is app.prompt
        assert app.prompt.text == ""
        assert "WRITE" in app.status.render().plain


async def test_keys_that_arrive_together_act_in_the_mode_each_was_meant_for(scripted: Make, scenes: Any) -> None:
    """A slow link delivers keys in bunches; none may fall into the mode before."""
    async with scripted(scenes.oat_milk(), text="").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await pilot.pause()
        for key, character in (("a", "a"), ("escape", None), ("space", " "), ("i", "i"), ("q", "q"), ("g", "g")):
            app.post_message(events.Key(key, character))
        await pilot.pause()
        assert app.is_running
        assert app.prompt.text == "aqg"
        assert len(app.runner.operations) in (3, 4)  # one step; changes noticed together are read once


async def test_an_edit_at_the_end_of_the_prompt_keeps_the_scores_before_it(real: Make, settle: Go, press: Go) -> None:
    async with real("oat milk").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await settle(pilot)
        before = app.frame.snapshot.tokens
        assert all(token.score for token in before[1:])
        session = app.runner._session
        seen = []
        prefill = session.prefill
        session.prefill = lambda ids, text: (prefill(ids, text), seen.append(tuple(session.tokens)))[0]
        await pilot.press("i", "end", "!")
        await settle(pilot)
        assert seen[0][:8] == before
        assert seen[0][8].score is None
        assert ids(app) == list(b"oat milk!")


async def test_an_edit_replaces_the_generated_tokens(real: Make, settle: Go, press: Go) -> None:
    async with real("oat", count=5).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "g")
        assert len(ids(pilot.app)) == 8
        await pilot.press("i", "end", "s")
        await settle(pilot)
        assert ids(pilot.app) == list(b"oats")
        assert pilot.app.frame.snapshot.prompt_length == 4


async def test_typing_ends_a_run(real: Make, settle: Go, until: Go) -> None:
    async with real("oat", count=10**6).run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await settle(pilot)
        app.simulate_key("g")
        await until(lambda: app.frame.generated > 3)
        app.prompt.text = "oats"
        await settle(pilot)
        assert app.frame.activity == "idle"
        assert ids(app) == list(b"oats")


async def test_only_the_last_of_many_edits_is_read(scripted: Make) -> None:
    async with scripted().run_test(size=(80, 24)) as pilot:
        names = []
        submit = pilot.app.runner.submit
        pilot.app.runner.submit = lambda operation, **how: (names.append(how.get("instead_of")), submit(operation))
        await pilot.press(*"abc")
        assert names == ["prompt"] * 3


@pytest.mark.parametrize(("special", "count"), [(False, len("<|endoftext|>")), (True, 1)])
async def test_special_text_is_plain_unless_asked_for(real: Make, settle: Go, special: bool, count: int) -> None:
    async with real("<|endoftext|>", form=PromptForm(special=special)).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert len(ids(pilot.app)) == count
        await pilot.press("i", "end", "!")
        await settle(pilot)
        assert len(ids(pilot.app)) == count + 1


async def test_a_prompt_that_is_emptied_starts_from_the_end_of_text(real: Make, settle: Go) -> None:
    async with real("a").run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("i", "end", "backspace")
        await settle(pilot)
        assert ids(pilot.app) == [256]


async def test_writing_goes_on_where_the_prompt_ends(scripted: Any) -> None:
    async with scripted(text="two\nlines").run_test(size=(80, 24)) as pilot:
        await pilot.press("i", "!")
        assert pilot.app.prompt.text == "two\nlines!"


async def test_an_unknown_theme_is_explained(scripted: Any) -> None:
    async with scripted(text="a", settings=Settings(theme="[sepia]")).run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert pilot.app.theme == "tokenwalk-dark"
        assert any("no theme '[sepia]'" in note.message for note in pilot.app._notifications)

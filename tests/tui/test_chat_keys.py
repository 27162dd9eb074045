"""A conversation in the app: the chat template by key, message after message, roles in the panels, undo, sessions."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from saved_walks import notes, saved_as_it_is
from textual.widgets import Input

from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.walk.values import PromptForm
from tui.app import TokenwalkApp

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
SIZE = (120, 36)
CHAT = PromptForm(chat=True)
END = 258


@pytest.fixture
def choice(chat_model: Path) -> ModelChoice:
    return ModelChoice(name=str(chat_model), device="cpu", dtype="fp32")


def text(app: TokenwalkApp) -> str:
    return b"".join(token.piece for token in app.frame.snapshot.tokens).decode("utf-8", "backslashreplace")


def turn(role: str, says: str = "") -> str:
    return f"<|im_start|>{role}\n{says}" + ("<|im_end|>\n" if says else "")


async def end_answer(pilot: Any, settle: Go) -> None:
    pilot.app.act(lambda session: session.take(END))
    await settle(pilot)


async def test_a_model_with_a_template_offers_it_and_a_key_takes_it(
    real: Make, settle: Go, press: Go, choice: ModelChoice
) -> None:
    """The prompt becomes the user's message; the same key takes it out of the template again."""
    async with real("hi", choice).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        assert "C chat template" in str(app.prompt.border_subtitle)
        await press(pilot, "C")
        assert text(app) == turn("user", "hi") + turn("assistant")
        assert (app.prompt.text, str(app.prompt.border_title)) == ("hi", "message 1")
        await press(pilot, "C")
        assert text(app) == "hi"
        assert str(app.prompt.border_title) == "prompt"


async def test_the_key_of_the_template_loses_no_message(
    real: Make, settle: Go, press: Go, write: Go, choice: ModelChoice
) -> None:
    """Pressed twice, the conversation is there as it was, with the message that was typed last."""
    async with real("hi", choice, form=CHAT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "space")
        await end_answer(pilot, settle)
        await press(pilot, "i")
        await write(pilot, "why?")
        await settle(pilot)
        await press(pilot, "escape")
        before = text(app)
        await press(pilot, "C")
        assert (text(app), app.prompt.text) == ("hi", "hi")
        await press(pilot, "C")
        assert (text(app), app.prompt.text) == (before, "why?")
        assert str(app.prompt.border_title) == "message 2"


async def test_a_model_without_a_template_says_so(real: Make, settle: Go, press: Go) -> None:
    async with real("hi").run_test(size=SIZE) as pilot:
        await settle(pilot)
        assert str(pilot.app.prompt.border_subtitle) == ""
        await press(pilot, "C")
        assert any("model1 has no chat template; m chooses a model made for chat" in note for note in notes(pilot.app))
        assert text(pilot.app) == "hi"


async def test_what_is_typed_is_the_message(real: Make, settle: Go, press: Go, write: Go, choice: ModelChoice) -> None:
    async with real("", choice, form=CHAT).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await write(pilot, "oat")
        await settle(pilot)
        assert text(pilot.app) == turn("user", "oat") + turn("assistant")


async def test_after_an_answer_the_next_message_continues(
    real: Make, settle: Go, press: Go, write: Go, choice: ModelChoice
) -> None:
    """The editor is empty for it; take back removes the whole message, redo brings it back."""
    async with real("hi", choice, form=CHAT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "space")
        await end_answer(pilot, settle)
        before = text(app)
        await press(pilot, "i")
        assert (app.prompt.text, str(app.prompt.border_title)) == ("", "message 2")
        await write(pilot, "why?")
        await settle(pilot)
        assert text(app) == before + "\n" + turn("user", "why?") + turn("assistant")
        await press(pilot, "escape", "u")
        assert text(app) == before
        assert app.prompt.text == "hi"
        await press(pilot, "ctrl+r")
        assert app.prompt.text == "why?"
        assert str(app.prompt.border_title) == "message 2"


async def test_a_message_of_which_nothing_is_typed_is_not_begun(
    real: Make, settle: Go, press: Go, choice: ModelChoice
) -> None:
    async with real("hi", choice, form=CHAT).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "space", "i", "escape")
        assert pilot.app.prompt.text == "hi"
        assert str(pilot.app.prompt.border_title) == "message 1"
        await press(pilot, "i", "x", "backspace", "escape")
        assert pilot.app.prompt.text == "hi"
        assert len(pilot.app.frame.snapshot.tokens) == 22


async def test_the_message_under_the_cursor_can_be_edited(
    real: Make, settle: Go, press: Go, write: Go, choice: ModelChoice
) -> None:
    """The answers stay in the tree."""
    async with real("hi", choice, form=CHAT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "space", "home", "i", "end")
        assert (app.prompt.text, str(app.prompt.border_title)) == ("hi", "message 1")
        await write(pilot, "!")
        await settle(pilot)
        assert text(app) == turn("user", "hi!") + turn("assistant")
        assert len(app.runner._session.tree.nodes) > len(app.frame.snapshot.tokens)


async def test_a_run_ends_with_the_answer(real: Make, settle: Go, press: Go, choice: ModelChoice) -> None:
    """A further one would speak for the user, so the key says what else there is."""
    async with real("hi", choice, form=CHAT, count=5).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await end_answer(pilot, settle)
        length = len(app.frame.snapshot.tokens)
        await press(pilot, "g")
        assert len(app.frame.snapshot.tokens) == length
        assert any("the answer has ended; i writes the next message, space samples on" in note for note in notes(app))
        await press(pilot, "space", "g")
        assert len(app.frame.snapshot.tokens) > length + 1


async def test_a_system_message_is_written_in_a_dialog(
    real: Make, settle: Go, press: Go, write: Go, choice: ModelChoice
) -> None:
    """It turns the template on, and is edited the next time."""
    async with real("hi", choice).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "M")
        await write(pilot, "be brief")
        await press(pilot, "enter")
        assert text(app) == turn("system", "be brief") + turn("user", "hi") + turn("assistant")
        await press(pilot, "M")
        assert app.screen.query_one(Input).value == "be brief"
        await press(pilot, "escape")


async def test_roles_are_named_in_the_panels(
    real: Make, settle: Go, press: Go, choice: ModelChoice, marked: Callable[..., str], panel_lines: Callable[..., Any]
) -> None:
    """By style, by a letter at the first id, and in words at the cursor."""
    think, done = 259, 260
    async with real("hi", choice, form=CHAT, sampler=Sampler(seed=1)).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        for id in (think, ord("h") - 33, done, ord("y") - 33):
            app.act(lambda session, id=id: session.take(id))
        await settle(pilot)
        await press(pilot, "home")
        lines = "\n".join(panel_lines(app.tokens))
        assert "ᵘ71" in lines
        assert f"∴{think}" in lines
        assert "ᵃ" in lines
        assert marked(app.generation, "generation--user") == "hi"
        assert marked(app.generation, "generation--thinking") == "<think>h</think>"
        assert "template" in str(app.tokens.border_subtitle)
        await press(pilot, *["right"] * 6)
        assert "user" in str(app.tokens.border_subtitle)


async def test_a_special_token_in_a_message_is_marked(real: Make, settle: Go, press: Go, choice: ModelChoice) -> None:
    """Underlined, and named at the cursor: typed text closes the user's turn. In plain text it is 10 characters."""
    async with real("a<|im_end|>b", choice, form=CHAT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        strips = [app.tokens.render_line(y) for y in range(6)]
        underlined = [part.text.strip() for strip in strips for part in strip if part.style and part.style.underline]
        assert underlined == ["<|im_start|>", "<|im_end|>", "<|im_end|>", "<|im_start|>"]
        await press(pilot, "home", *["right"] * 7)
        assert str(app.tokens.border_subtitle).endswith("user · special")
        await press(pilot, "C")
        assert len(app.frame.snapshot.tokens) == len("a<|im_end|>b")


async def test_a_saved_conversation_goes_on(
    saving: Make, settle: Go, press: Go, write: Go, choice: ModelChoice, tmp_path: Path, until: Any
) -> None:
    form = PromptForm(chat=True, system="be brief")
    async with saving("hi", choice=choice, form=form).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "space", "i")
        await write(pilot, "why?")
        await settle(pilot)
        await saved_as_it_is(pilot.app, tmp_path, until)
        path, said = pilot.app.autosave.path, text(pilot.app)
    async with saving("", resume=path).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        assert text(app) == said
        assert app.state.form == form
        assert (app.prompt.text, str(app.prompt.border_title)) == ("why?", "message 2")
        await press(pilot, "space", "i")
        await write(pilot, "and?")
        await settle(pilot)
        assert text(app).count("<|im_start|>user") == 3


async def test_another_model_without_a_template_takes_plain_text(
    real: Make, settle: Go, press: Go, choice: ModelChoice
) -> None:
    async with real("hi", choice, form=CHAT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        app.walk.choosing.load(ModelChoice(tokenizer="bytes", device="cpu"))
        await settle(pilot)
        assert text(app) == "hi"
        assert not app.state.form.chat
        assert any("no chat template; the prompt is plain text" in note for note in notes(app))

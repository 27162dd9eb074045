"""The dialog for the sizes of a rung: checked at each key, rebuilt by enter, refused for models from files."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from core.loading import catalog
from core.loading.choice import Hyperparameters, ModelChoice
from tui.app import TokenwalkApp
from tui.screens.hyperparameters import HyperparametersScreen

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Screen = Callable[[TokenwalkApp], list[str]]

PROMPT = "oat milk"
BYTES = ModelChoice(tokenizer="bytes", device="cpu")
DEEP = replace(BYTES, name="model5")
SIZE = (80, 24)


def opened(app: TokenwalkApp) -> HyperparametersScreen:
    assert isinstance(app.screen, HyperparametersScreen)
    return app.screen


async def test_enter_rebuilds_the_rung_in_other_sizes(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT, DEEP).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "p", "3", "2", "down", "1", "6", "down", "2", "down", "8", "enter")
        assert pilot.app.choice == replace(DEEP, changes=Hyperparameters(embed_dim=32, context=16, blocks=2, heads=8))
        assert pilot.app.frame.model.context == 16
        assert [token.piece for token in pilot.app.frame.snapshot.tokens] == [bytes([b]) for b in PROMPT.encode()]


async def test_an_invalid_value_is_explained_and_not_built(
    real: Make, settle: Go, press: Go, screen_lines: Screen
) -> None:
    async with real(PROMPT, DEEP).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "p", "down", "down", "down", "3")
        assert "cannot be divided among 3 heads" in "\n".join(screen_lines(pilot.app))
        await press(pilot, "enter")
        opened(pilot.app)
        await press(pilot, "backspace", "4")
        shown = "\n".join(screen_lines(pilot.app))
        assert "parameters" in shown and "cannot" not in shown
        await press(pilot, "escape")
        assert pilot.app.choice == DEEP


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("embed_dim", "0", "the embedding size must be at least 1"),
        ("blocks", "0", "model5 needs at least 1 block"),
        ("activation", "tanh", "'tanh' is not an activation function"),
        ("tokenizer", "words", "no tokenizer 'words'"),
        ("weights_seed", "9" * 19, "the weights seed must be between"),
    ],
)
async def test_every_field_is_checked(
    real: Make, settle: Go, screen_lines: Screen, name: str, value: str, problem: str
) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        pilot.app.do("choosing.hyperparameters")
        await settle(pilot)
        field = opened(pilot.app).fields[name]
        field.max_length = 0
        field.value = value
        await settle(pilot)
        assert problem in " ".join("\n".join(screen_lines(pilot.app)).split())


async def test_an_empty_field_means_the_rungs_own_value(real: Make, settle: Go, press: Go) -> None:
    changed = replace(DEEP, changes=Hyperparameters(blocks=2), weights_seed=7)
    async with real(PROMPT, changed).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "p", "down", "down", "backspace", "down", "down", "down", "backspace", "enter")
        assert pilot.app.choice == DEEP


async def test_a_rung_without_blocks_has_no_fields_for_them(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "p")
        assert list(opened(pilot.app).fields) == ["embed_dim", "context", "activation", "weights_seed", "tokenizer"]


async def test_a_model_from_files_has_no_sizes_to_change(
    real: Make, settle: Go, press: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        await settle(pilot)
        monkeypatch.setattr(catalog, "is_rung", lambda name: False)
        await press(pilot, "p")
        assert len(pilot.app.screen_stack) == 1
        assert [note.message for note in pilot.app._notifications] == [
            "the sizes of model1 are fixed by its files; m chooses one of the rungs, whose sizes can be changed"
        ]

"""A trained rung in the app: true probabilities, ids of cl100k, and its untrained twin."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.widget import Widget

from core.loading import tokenizers
from core.loading.checkpoints import folders
from core.loading.choice import ModelChoice
from core.loading.models import load_model
from core.world import tiny
from tui.app import TokenwalkApp
from tui.drawing.bars import TICK

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[[Widget], list[str]]

TRAINED = ModelChoice(name="model1-trained", device="cpu")
SIZE = (120, 36)


async def test_true_probabilities_are_shown_in_the_chart(real: Make, settle: Go, press: Go, panel_lines: Lines) -> None:
    """Ticks and divergence equal those of the grammar; a text outside the grammar has neither."""
    async with real("I prefer oat milk in my", TRAINED).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        chart, tokenizer = app.frame.snapshot.chart, tokenizers.load_tokenizer(tiny.NAME)
        truth = tiny.TrueDistribution().after([token.id for token in app.frame.snapshot.tokens])
        assert {tokenizer.piece(id): share for id, share in truth.items()} == pytest.approx(
            {b" coffee": 0.6, b" tea": 0.2, b" por": 0.1, b" cocoa": 0.1}
        )
        assert all(candidate.true == truth.get(candidate.id, 0.0) for candidate in chart.candidates)
        shown = {c.id: c.probability for c in load_model(TRAINED) and chart.candidates}
        nats = sum(share * math.log(share / shown[id]) for id, share in truth.items())
        assert chart.divergence_bits == pytest.approx(nats / math.log(2), abs=1e-5)
        assert f"KL(true‖model) {chart.divergence_bits:.3f} bits" in app.status.render().plain
        assert "│ true" in str(app.candidates.border_title)
        rows = panel_lines(app.candidates)
        assert TICK in next(row for row in rows if "·coffee" in row)
        await press(pilot, "i", "x", "escape")
        await settle(pilot)
        assert app.frame.snapshot.chart.divergence_bits is None
        assert "KL" not in app.status.render().plain


async def test_ids_of_cl100k_are_shown(real: Make, settle: Go) -> None:
    async with real("I prefer oat", TRAINED).run_test(size=(160, 45)) as pilot:
        await settle(pilot)
        assert "cl100k 72754" in str(pilot.app.tokens.border_subtitle)


async def test_a_key_switches_between_a_rung_and_its_twin(real: Make, settle: Go, press: Go) -> None:
    """The walk keeps its tokens, in the untrained rung and back in the trained one."""
    async with real("I prefer oat milk in my", TRAINED).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "enter")
        walked = [token.id for token in app.frame.snapshot.tokens]
        trained_chart = app.frame.snapshot.chart
        await press(pilot, "a")
        await settle(pilot)
        assert (app.frame.model.name, app.frame.model.vocab_size) == ("model1", 825)
        assert [token.id for token in app.frame.snapshot.tokens] == walked
        assert app.frame.snapshot.chart.divergence_bits > trained_chart.divergence_bits
        await press(pilot, "a")
        await settle(pilot)
        assert app.frame.model.name == TRAINED.name
        assert [token.id for token in app.frame.snapshot.tokens] == walked
        assert app.frame.snapshot.chart == trained_chart


async def test_the_twin_of_an_untrained_rung_is_the_trained_one(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("a")
        assert pilot.app.runner.loads[-1][0] == replace(pilot.app.choice, name="model1-trained")


async def test_a_model_without_a_twin_is_an_error_message(scripted: Make, scenes: Any) -> None:
    app = scripted(scenes.oat_milk(), text="a")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        app.state.choice = ModelChoice(name="smollm2")
        loads = len(app.runner.loads)
        await pilot.press("a")
        assert len(app.runner.loads) == loads
        assert any(
            "no trained or untrained version; m chooses another model" in note.message for note in app._notifications
        )


def test_every_trained_rung_has_a_twin_with_its_tokenizer() -> None:
    from core.loading import catalog

    for name in folders.SHIPPED:
        twin = catalog.twin(ModelChoice(name=name, device="cpu"))
        assert twin
        before, after = load_model(twin), load_model(ModelChoice(name=name, device="cpu"))
        assert before.tokenizer is after.tokenizer
        assert before.transformer.config == after.transformer.config

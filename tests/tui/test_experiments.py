"""The experiments: patches are added by keys, shown in chart and status line, swept and removed."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.widget import Widget

from core import language
from core.activations.patch import Patch
from core.activations.steering_vector import SteeringVector
from core.activations.sweep import all_patches, sweep
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.models import load_model
from core.walk.session import Session
from tui.app import TokenwalkApp
from tui.drawing.patches import patch_name
from tui.drawing.text import label, percent
from tui.screens.patch import PatchScreen

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[[Widget], list[str]]
Screen = Callable[[TokenwalkApp], list[str]]

PROMPT = "oat milk"
BYTES = ModelChoice(tokenizer="bytes", device="cpu")
DEEP = replace(BYTES, name="model5", changes=Hyperparameters(context=32, blocks=3, heads=4))
SIZE = (120, 36)


def opened(app: TokenwalkApp) -> PatchScreen:
    assert isinstance(app.screen, PatchScreen)
    return app.screen


def acting(app: TokenwalkApp) -> tuple[Patch, ...]:
    return app.frame.snapshot.patches


async def test_a_patch_is_added_by_keys_and_acts(
    real: Make, settle: Go, press: Go, panel_lines: Lines, screen_lines: Screen
) -> None:
    async with real(PROMPT, DEEP).run_test(size=SIZE) as pilot:
        await settle(pilot)
        before = pilot.app.frame.snapshot.chart
        await press(pilot, "x", "right", "right", "up", "up", "right", "up", "enter")
        assert acting(pilot.app) == (Patch(kind="zero", part="head", layer=2, index=1),)
        assert "zero head 2.1" in "\n".join(screen_lines(pilot.app))
        shown = next(line for line in screen_lines(pilot.app) if "KL(unpatched‖patched)" in line)
        likeliest = pilot.app.frame.snapshot.chart.candidates[0]
        for candidate, share in (
            (before.candidates[0], before.candidates[0].probability),
            (likeliest, likeliest.probability),
        ):
            assert f"{label(candidate.piece)} {percent(share, 2)}" in shown
        await press(pilot, "escape")
        after = pilot.app.frame.snapshot.chart
        known = {candidate.id: candidate.probability for candidate in before.candidates}
        assert any(candidate.probability != candidate.unpatched for candidate in after.candidates)
        for candidate in after.candidates:
            assert candidate.unpatched == pytest.approx(known.get(candidate.id, candidate.unpatched), rel=1e-6)
        assert "patched 1" in screen_lines(pilot.app)[-2]
        assert str(pilot.app.candidates.border_title).endswith("░ unpatched")


async def test_removing_a_patch_restores_the_chart(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT, DEEP).run_test(size=SIZE) as pilot:
        await settle(pilot)
        before = pilot.app.frame.snapshot.chart
        await press(pilot, "x", "enter", "tab", "delete")
        assert acting(pilot.app) == ()
        assert not opened(pilot.app).shift.display
        assert pilot.app.frame.snapshot.chart == before


async def test_a_part_has_at_most_one_patch(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT, DEEP).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "x", "enter", "down", "enter", "enter")
        assert acting(pilot.app) == (Patch(kind="mean", part="head", layer=0, index=0),)


async def test_a_sweep_ranks_every_head_and_enter_adds_one(
    real: Make, settle: Go, press: Go, screen_lines: Screen
) -> None:
    model = load_model(DEEP)
    session = Session(model)
    list(session.prefill(list(PROMPT.encode())))
    want: Any = list(sweep(session.current_step(), all_patches(model.transformer.config, "head")))[-1]
    async with real(PROMPT, DEEP).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "x", "s")
        shown = "\n".join(screen_lines(pilot.app))
        assert f"  1  {want.effects[0].patch.label} " in shown
        assert f"{want.effects[0].difference:+.4f}" in shown and f"{want.effects[0].kl_bits:.6f}" in shown
        await press(pilot, "o")  # by KL
        strongest = max(want.effects, key=lambda effect: effect.kl_bits)
        assert f"  1  {strongest.patch.label} " in "\n".join(screen_lines(pilot.app))
        await press(pilot, "tab", "tab", "down")
        marked = [line.split("›")[1].split()[0] for line in screen_lines(pilot.app) if "›" in line and "zero" in line]
        assert marked == ["2"], "only the list with the focus has a cursor"
        await press(pilot, "enter")
        second = sorted(want.effects, key=lambda effect: -effect.kl_bits)[1]
        assert acting(pilot.app) == (second.patch,)
        assert "zero every head" in "\n".join(screen_lines(pilot.app))  # the sweep stays on the screen
        await press(pilot, "o", "s")  # again, by difference: each head alone, without the patch that acts
        shown = "\n".join(screen_lines(pilot.app))
        assert f"{want.effects[0].difference:+.4f}" in shown and f"{want.effects[0].kl_bits:.6f}" in shown
        assert acting(pilot.app) == (second.patch,)


async def test_the_form_and_its_patches_are_named_in_vietnamese(
    real: Make, settle: Go, press: Go, screen_lines: Screen
) -> None:
    language.speak("vi")
    async with real(PROMPT, DEEP).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "x", "enter", "s", "tab")
        shown = "\n".join(screen_lines(pilot.app))
        assert "›đặt 0 đầu 0.0" in shown
        assert "đặt 0 mọi đầu" in shown
        assert not any(word in shown for word in ("zero", "head"))


@pytest.mark.parametrize(
    ("patch", "name", "translated"),
    [
        (Patch(part="head", layer=3, index=5), "zero head 3.5", "đặt 0 đầu 3.5"),
        (Patch(kind="scale", part="query", layer=1, factor=0.5), "scale query 1 × 0.5", "nhân truy vấn 1 × 0.5"),
        (
            Patch(kind="swap", part="position", layer=2, index=4, ids=(1, 2)),
            "swap residual 2 at 4",
            "thay thặng dư 2 tại 4",
        ),
        (Patch(kind="swap", part="head", layer=2, index=4, ids=(1, 2)), "swap head 2.4", "thay đầu 2.4"),
        (
            Patch(kind="steer", part="stream", vector=SteeringVector("joy", ((1, bytes(8)), (2, bytes(8))))),
            "steer joy × 2, layers 1 to 2",
            "lái joy × 2, lớp 1 đến 2",
        ),
    ],
)
def test_a_patch_in_words(patch: Patch, name: str, translated: str) -> None:
    assert patch_name(patch) == patch.label == name
    language.speak("vi")
    assert patch_name(patch) == translated


async def test_escape_stops_a_sweep_and_closes_at_the_second_press(
    real: Make, settle: Go, press: Go, until: Any
) -> None:
    deep = replace(DEEP, changes=Hyperparameters(context=256, blocks=12, heads=16, embed_dim=128))
    async with real("the kettle was on before the others woke " * 4, deep).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "x")
        screen = opened(pilot.app)
        pilot.app.simulate_key("s")
        await until(lambda: pilot.app.frame.progress is not None)
        pilot.app.simulate_key("escape")
        await settle(pilot)
        assert pilot.app.screen is screen
        assert pilot.app.frame.question is None
        await press(pilot, "escape")
        assert len(pilot.app.screen_stack) == 1


async def test_model1_can_patch_positions_only(real: Make, settle: Go, press: Go, screen_lines: Screen) -> None:
    async with real(PROMPT).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "x", "right", "up", "right", "up", "up", "enter")
        assert acting(pilot.app) == (Patch(kind="zero", part="position", index=2),)
        assert "2 t" in "\n".join(screen_lines(pilot.app))


async def test_the_lens_is_computed_again_after_the_experiments(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT, DEEP).run_test(size=SIZE) as pilot:
        await settle(pilot)
        pilot.app.do("lens.look", "logit")
        await settle(pilot)
        before = pilot.app.lens.answer.layers[-1].entropy_bits
        await press(pilot, "x", "right", "down", "down", "enter", "escape")
        assert acting(pilot.app)
        assert pilot.app.lens.answer.layers[-1].entropy_bits != before
        assert pilot.app.lens.answer.layers[-1].entropy_bits == pytest.approx(
            pilot.app.frame.snapshot.chart.entropy_bits, abs=1e-5
        )

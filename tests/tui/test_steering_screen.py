"""The steering screen: vectors are made of prompts by keys, turned, moved, switched, saved, loaded and resumed."""

from array import array
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Checkbox

from core.activations.patch import Patch
from core.activations.steering_vector import SteeringVector
from core.causal.steering import steering_vector
from core.causal.vector_files import read_vector, write_vector
from core.errors import UserError
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.models import load_model
from tui.app import TokenwalkApp
from tui.screens import steering as screens
from tui.screens.steering import SteeringScreen
from tui.screens.steering_form import SteeringForm, VectorRecipe
from tui.screens.steering_list import STRENGTHS, Steering, acting, adopted

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Screen = Callable[[TokenwalkApp], list[str]]

DEEP = ModelChoice(
    name="model5", tokenizer="bytes", device="cpu", changes=Hyperparameters(context=32, blocks=3, heads=4)
)
SIZE = (80, 24)
MAKE = ("V", "n", *"good", "tab", *"bad", "tab", "tab", *"joy", "enter")
"""The keys that make a vector of two prompts."""


def vector(*layers: int, name: str = "joy") -> SteeringVector:
    return SteeringVector(name, tuple((layer, array("f", [layer + 1.0] * 64).tobytes()) for layer in layers))


def patches(app: Any) -> tuple[Patch, ...]:
    return app.frame.snapshot.patches


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where vectors are saved."""
    monkeypatch.setattr(screens, "vectors_folder", lambda: tmp_path / "vectors")
    return tmp_path / "vectors"


async def test_a_vector_is_made_turned_moved_and_switched_by_keys(
    real: Make, settle: Go, press: Go, until: Any, screen_lines: Screen, folder: Path
) -> None:
    model = load_model(DEEP)
    *_, want = steering_vector(model, ["good"], ["bad"], "joy")
    assert isinstance(want, SteeringVector)
    async with real("oat milk", DEEP).run_test(size=SIZE) as pilot:
        await settle(pilot)
        plain = pilot.app.frame.snapshot.chart
        await press(pilot, *MAKE)
        await until(lambda: patches(pilot.app))
        assert patches(pilot.app) == (Patch(kind="steer", part="stream", factor=1.0, vector=want.at(1)),)
        await press(pilot, "right", "right", "shift+right")
        assert patches(pilot.app) == (Patch(kind="steer", part="stream", factor=2.0, vector=want.at(2)),)
        lines = "\n".join(screen_lines(pilot.app))
        assert "›● joy" in lines
        assert "layer 2" in lines
        assert "model5: 'good' − 'bad', last position" in lines
        assert "without" in lines
        await press(pilot, "enter")
        assert patches(pilot.app) == ()
        assert pilot.app.frame.snapshot.chart == plain
        await press(pilot, "enter", "w", "enter")
        assert read_vector(folder / "joy.safetensors") == want
        await press(pilot, "delete", "o", "enter")
        assert patches(pilot.app) == (Patch(kind="steer", part="stream", factor=1.0, vector=want),), "every layer"
        await press(pilot, "escape")
        assert "patched 1" in screen_lines(pilot.app)[-2]
        await press(pilot, "V")
        assert "● joy" in "\n".join(screen_lines(pilot.app))


async def test_vectors_of_the_command_line_and_of_sessions_are_listed(
    real: Make, settle: Go, press: Go, until: Any, screen_lines: Screen
) -> None:
    """Two act together, and other patches stay."""
    steer = Patch(kind="steer", part="stream", factor=0.5, vector=vector(0, 1, name="[/b] calm"))
    head = Patch(part="head", layer=0, index=0)
    async with real("oat milk", DEEP, patches=(head, steer)).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await until(lambda: patches(pilot.app))
        await press(pilot, "V", "right")
        lines = "\n".join(screen_lines(pilot.app))
        assert "● [/b] calm" in lines
        assert "2 layers" in lines
        assert patches(pilot.app) == (head, replace(steer, factor=0.75))
        await press(pilot, "delete")
        assert patches(pilot.app) == (head,)


async def test_wrong_prompts_and_files_are_one_line_and_the_app_goes_on(
    real: Make, settle: Go, press: Go, until: Any, screen_lines: Screen, folder: Path, tmp_path: Path
) -> None:
    write_vector(tmp_path / "wide.safetensors", SteeringVector("wide", ((0, bytes(4 * 65)),)))
    async with real("oat milk", DEEP).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "V", "n", *"good", "tab", "tab", "tab", "enter")
        assert isinstance(pilot.app.screen, SteeringForm)
        assert "the second set has no prompt" in "\n".join(screen_lines(pilot.app))
        pilot.app.screen.negative.text = "good"
        await press(pilot, "enter")
        await until(lambda: "the same residual stream" in "\n".join(screen_lines(pilot.app)))
        assert patches(pilot.app) == ()
        await press(pilot, "o")
        pilot.app.screen.query_one("Input").value = str(tmp_path / "wide.safetensors")
        await press(pilot, "enter")
        assert "is 65 wide" in "\n".join(screen_lines(pilot.app))
        await press(pilot, "escape", "escape")
        assert not isinstance(pilot.app.screen, SteeringScreen)


def test_the_form_reads_lines_and_files(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("one\n\ntwo\n")
    form = SteeringForm(VectorRecipe())
    form.positive.text, form.negative.text = f"@{tmp_path / 'good.txt'}", "three\nfour"
    form.mean = Checkbox(value=True)
    assert form.recipe() == VectorRecipe(("one", "two"), ("three", "four"), "mean", "one")
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    for text, problem in (
        (f"@{tmp_path}/none", "cannot be read"),
        (f"@{tmp_path}/bad.txt", "not UTF-8"),
        (" ", "no pro"),
    ):
        form.negative.text = text
        with pytest.raises(UserError, match=problem):
            form.recipe()


def test_strengths_and_layers_stop_at_their_ends() -> None:
    single, several = Steering(vector(1)), Steering(vector(1, 2))
    assert single.stronger(1).strength == 1.5
    assert replace(single, strength=0.05).stronger(-1).strength == 0
    assert replace(single, strength=0.0).stronger(-1).strength == -0.05
    assert replace(single, strength=5.0).stronger(-1).strength == 4.0
    assert replace(single, strength=STRENGTHS[-1]).stronger(1).strength == STRENGTHS[-1]
    assert [single.moved(by, 3).layer for by in (-1, 1)] == [0, 2]
    assert single.moved(1, 3).moved(1, 3).layer == 2
    assert single.moved(-1, 3).patch.vector == vector(1).at(0)
    assert [several.moved(1, 3).layer, several.moved(1, 3).moved(1, 3).layer, several.moved(-1, 3).layer] == [
        1,
        2,
        None,
    ]
    assert (single.place, several.place, several.moved(1, 3).place) == ("layer 1", "2 layers", "layer 1")


def test_the_list_follows_what_acts_in_the_model() -> None:
    one, two = Steering(vector(0)), Steering(vector(0, 1, name="calm"), 1, 2.0, on=False)
    assert acting((one, two)) == (one.patch,)
    assert adopted((one, two), (two.patch,)) == (replace(one, on=False), replace(two, on=True))
    loaded = Patch(kind="steer", part="stream", factor=3.0, vector=vector(2))
    assert adopted((one,), (one.patch, loaded)) == (one, Steering(vector(2), strength=3.0))
    assert adopted((), ()) == ()

"""A model while it is loaded: a bar of what is read, cancelling it, and a walk that stays as it was."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from saved_walks import notes

from core.errors import UserError
from core.loading import models
from core.loading.choice import ModelChoice
from core.progress import Loading
from tui.app import TokenwalkApp
from tui.panels.status import loading_text
from tui.runner import Frame

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
OTHER = ModelChoice(name="model2", tokenizer="bytes", device="cpu")
SIZE = (100, 30)


class SlowLoad:
    """A loading in two parts: it waits in the middle."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on, self.error = threading.Event(), threading.Event(), None
        load = models.load_model

        def slow(choice: ModelChoice, report: Any = None) -> Any:
            if choice.name != "model2":
                return load(choice, report)
            self.begun.set()
            while not self.go_on.wait(0.01):
                report(Loading("reading", "blk.0.attn_q.weight", 25_000_000, 100_000_000))
            report(Loading("reading", "blk.1.attn_q.weight", 50_000_000, 100_000_000))
            if self.error:
                raise self.error
            return load(choice, report)

        monkeypatch.setattr(models, "load_model", slow)


async def begin(pilot: Any, slow: SlowLoad, settle: Go, press: Go, until: Go) -> tuple[Any, ...]:
    """Sample a token, then begin to load another model; the walk before that."""
    await settle(pilot)
    await press(pilot, "space")
    walk = pilot.app.frame.snapshot.tokens
    pilot.app.walk.choosing.load(OTHER)
    await until(slow.begun.is_set)
    await until(lambda: pilot.app.frame.loading and pilot.app.frame.loading.total)
    return walk


def state(app: TokenwalkApp) -> str:
    return app.status.render().plain


async def test_a_bar_shows_what_is_read_and_keys_act_meanwhile(
    real: Make, settle: Go, press: Go, until: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowLoad(monkeypatch)
    async with real("oat").run_test(size=SIZE) as pilot:
        walk = await begin(pilot, slow, settle, press, until)
        assert "reading ━━╌╌╌╌╌╌╌╌  25% of 100 MB blk.0.attn_q.weight" in state(pilot.app)
        assert "esc cancels" in state(pilot.app)
        await pilot.press("question_mark")
        assert len(pilot.app.screen_stack) == 2
        await pilot.press("escape")
        slow.go_on.set()
        await settle(pilot)
        assert pilot.app.frame.model.name == "model2"
        assert [token.id for token in pilot.app.frame.snapshot.tokens] == [token.id for token in walk]
        assert pilot.app.frame.loading is None


async def test_escape_cancels_and_the_walk_goes_on(
    real: Make, settle: Go, press: Go, until: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowLoad(monkeypatch)
    async with real("oat").run_test(size=SIZE) as pilot:
        app = pilot.app
        walk = await begin(pilot, slow, settle, press, until)
        await pilot.press("escape")
        slow.go_on.set()
        await settle(pilot)
        assert (app.frame.model.name, app.choice.name) == ("model1", "model1")
        assert app.frame.snapshot.tokens[: len(walk)] == walk
        assert any("loading was cancelled; the walk is unchanged" in note for note in notes(app))
        await press(pilot, "space")
        assert len(app.frame.snapshot.tokens) == len(walk) + 1
        app.walk.choosing.load(OTHER)
        await settle(pilot)
        assert app.frame.model.name == "model2"


async def test_a_second_choice_takes_the_place_of_the_model_that_is_loading(
    real: Make, settle: Go, press: Go, until: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowLoad(monkeypatch)
    async with real("oat").run_test(size=SIZE) as pilot:
        app = pilot.app
        walk = await begin(pilot, slow, settle, press, until)
        seen = list[str]()
        app.walk.choosing.load(ModelChoice(name="model3", tokenizer="bytes", device="cpu"))
        show = app.walk.show
        monkeypatch.setattr(app.walk, "show", lambda frame: (seen.append(frame.model.name), show(frame)))
        slow.go_on.set()
        await settle(pilot)
        assert app.frame.model.name == "model3" and "model2" not in seen
        assert [token.id for token in app.frame.snapshot.tokens] == [token.id for token in walk]
        assert not any("cancelled" in note for note in notes(app))


async def test_a_load_that_fails_leaves_the_walk(
    real: Make, settle: Go, press: Go, until: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowLoad(monkeypatch)
    slow.error = UserError("model2 needs 9.0 GB; cpu has 1.0 GB; choose a smaller model")
    async with real("oat").run_test(size=SIZE) as pilot:
        walk = await begin(pilot, slow, settle, press, until)
        slow.go_on.set()
        await settle(pilot)
        assert pilot.app.frame.snapshot.tokens[: len(walk)] == walk
        assert any("needs 9.0 GB; cpu has 1.0 GB" in note for note in notes(pilot.app))
        await press(pilot, "space")
        assert len(pilot.app.frame.snapshot.tokens) == len(walk) + 1


async def test_a_load_that_waits_is_cancelled_too(
    real: Make, settle: Go, press: Go, until: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowLoad(monkeypatch)
    async with real("oat").run_test(size=SIZE) as pilot:
        await begin(pilot, slow, settle, press, until)
        pilot.app.walk.choosing.load(ModelChoice(name="model3", tokenizer="bytes", device="cpu"))
        await pilot.press("escape")
        slow.go_on.set()
        await settle(pilot)
        assert pilot.app.frame.model.name == "model1"


async def test_the_first_load_can_be_cancelled(
    real: Make, settle: Go, until: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the chart says what to do."""
    slow = SlowLoad(monkeypatch)
    async with real("oat", OTHER).run_test(size=SIZE) as pilot:
        await until(slow.begun.is_set)
        await until(lambda: pilot.app.frame.activity == "loading")
        await pilot.press("escape")
        slow.go_on.set()
        await settle(pilot)
        assert pilot.app.frame.model is None
        assert pilot.app.frame.activity == "idle"


async def test_escape_ends_a_run(real: Make, settle: Go, press: Go, until: Go) -> None:
    async with real("oat", count=10**6).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        app.simulate_key("g")
        await until(lambda: app.frame.generated > 3)
        await press(pilot, "escape")
        assert app.frame.activity == "idle"


async def test_a_second_ctrl_c_quits(scripted: Make, until: Go) -> None:
    app = scripted(Frame(), text="a")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("ctrl+c")
        assert any("ctrl+c again quits" in note for note in notes(app))
        app.simulate_key("ctrl+c")
        await until(lambda: not app.is_running)
    assert app.return_code == 0


def test_the_line_of_a_load_is_short_and_inert() -> None:
    """Whatever a file calls its tensors."""
    text = loading_text(Loading("downloading", "\x1b]0;x\x07" + "a" * 100, 1_500_000_000, 3_000_000_000))
    assert text.startswith("downloading ━━━━━╌╌╌╌╌  50% of 3.0 GB ")
    assert len(text) < 70
    assert "\x1b" not in text
    assert loading_text(None) == loading_text(Loading("reading", "x", 0, 0)) == "loading"
    assert loading_text(Loading("compiling", "Llama", 0, 0)) == "compiling for this processor, only once …"

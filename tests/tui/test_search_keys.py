"""A person searches, or generates with a draft, by key: a line in a dialog, then what is found in its lens."""

from collections.abc import Awaitable, Callable

from core.loading.choice import Hyperparameters, ModelChoice
from core.search.values import BestState
from core.walk.values import DraftView, Forest
from tui.app import TokenwalkApp
from tui.dialogs.line import LineScreen
from tui.lenses.branches import BranchesLens

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Until = Callable[..., Awaitable[None]]


async def test_a_beam_search_shows_its_branches(real: Make, press: Go, write: Go) -> None:
    async with real("oat milk").run_test(size=(120, 36)) as pilot:
        await press(pilot, "escape", "S")
        assert isinstance(pilot.app.screen, LineScreen)
        await press(pilot, "ctrl+u")
        await write(pilot, "beam 2; length 3")
        await press(pilot, "enter")
        assert isinstance(pilot.app.lens, BranchesLens)
        answer = pilot.app.frame.answer
        assert isinstance(answer, Forest)
        assert answer.search
        assert answer.search.state.reason == "finished"
        assert sum(row.mark is not None and row.mark.kind == "answer" for row in answer.rows) == 2
        assert pilot.app.lens.answer is answer


async def test_a_wrong_plan_stays_in_the_dialog(real: Make, press: Go, write: Go) -> None:
    async with real("oat milk").run_test(size=(120, 36)) as pilot:
        await press(pilot, "escape", "S", "ctrl+u")
        await write(pilot, "beam many")
        await press(pilot, "enter")
        assert isinstance(pilot.app.screen, LineScreen)
        await press(pilot, "escape")
        assert pilot.app.frame.answer is None or not isinstance(pilot.app.frame.answer, Forest)


async def test_the_key_again_ends_a_search_and_keeps_what_it_found(
    real: Make, press: Go, write: Go, until: Until
) -> None:
    """A search over flat distributions would take long; the second press ends it, and the walk goes on."""
    choice = ModelChoice(tokenizer="bytes", device="cpu", changes=Hyperparameters(context=64))
    async with real("oat milk", choice).run_test(size=(120, 36)) as pilot:
        await press(pilot, "escape", "S", "ctrl+u")
        await write(pilot, "best 3; length 40; nodes 100000")
        pilot.app.simulate_key("enter")

        def searches() -> bool:
            answer = pilot.app.frame.answer
            return isinstance(answer, Forest) and answer.search is not None and answer.search.state.progress[0] > 20

        await until(searches)
        await press(pilot, "S")
        answer = pilot.app.frame.answer
        assert isinstance(answer, Forest)
        assert answer.search
        state = answer.search.state
        assert isinstance(state, BestState)
        assert state.reason == "cancelled"
        await press(pilot, "space")
        assert len(pilot.app.frame.snapshot.tokens) == len("oat milk") + 1


async def test_a_draft_shows_its_rounds(real: Make, press: Go, write: Go) -> None:
    """The rounds of the draft lens are the tokens of the walk; a line that is none stays in the dialog."""
    choice = ModelChoice(name="model5-trained", device="cpu")
    async with real("I prefer oat milk in", choice, count=6).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await press(pilot, "escape", "D", "ctrl+u")
        await write(pilot, "model2-trained 99")
        await press(pilot, "enter")
        assert isinstance(app.screen, LineScreen)
        await press(pilot, "ctrl+u")
        await write(pilot, "model2-trained 3")
        await press(pilot, "enter")
        view = app.frame.answer
        assert isinstance(view, DraftView)
        tokens = [token.id for found in view.rounds for token in found.tokens]
        assert tokens == [token.id for token in app.frame.snapshot.tokens[5:]]
        assert len(tokens) == 6
        await press(pilot, "down", "D", "ctrl+u")
        await write(pilot, "model1 3")
        await press(pilot, "enter")
        assert len(app.frame.snapshot.tokens) == 11

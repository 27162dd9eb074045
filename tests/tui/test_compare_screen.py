"""The compare screen: the walk is A; B has another model, format, prompt or sampler."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.widgets import OptionList

from core.activations.patch import Patch
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.sampling.stages.temp import Temperature
from tui.app import TokenwalkApp
from tui.dialogs.choose import ChooseScreen
from tui.screens.compare import CompareScreen

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
SIZES = [(80, 24), (120, 36)]


def compared(app: TokenwalkApp) -> CompareScreen:
    """The compare screen, also below a dialog."""
    return next(screen for screen in app.screen_stack if isinstance(screen, CompareScreen))


def lines(app: TokenwalkApp) -> list[str]:
    """The lines that the page draws."""
    page = compared(app).page
    return [page.render_line(y).text for y in range(page.scrollable_content_region.height)]


async def choose(pilot: Any, until: Go, name: str) -> None:
    """Choose an entry of the open list."""
    await until(lambda: isinstance(pilot.app.screen, ChooseScreen) and pilot.app.screen.is_mounted)
    options = pilot.app.screen.query_one(OptionList)
    options.highlighted = options.get_option_index(name)
    await pilot.press("enter")


async def opened(pilot: Any, settle: Go, until: Go, name: str) -> None:
    await settle(pilot)
    pilot.app.simulate_key("c")
    await choose(pilot, until, name)
    await until(lambda: compared(pilot.app).page.answer)
    await settle(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_a_and_b_are_shown_at_the_same_position(real: Make, settle: Go, until: Go, size: tuple[int, int]) -> None:
    """Names, charts, divergences and likeliest tokens; moving along the walk moves both."""
    async with real("oat milk").run_test(size=size) as pilot:
        app = pilot.app
        await opened(pilot, settle, until, "model3")
        shown = lines(app)
        assert "A  model1 · cpu fp32" in shown[0]
        assert "B  model3 · cpu fp32" in shown[0]
        assert shown[2].count("8/8 …oat milk") == 2
        assert "KL(A‖B)" in shown[4]
        assert sum("others" in line for line in shown) == 1
        first = compared(app).page.answer
        await pilot.press("left")
        await until(lambda: compared(app).page.answer is not first)
        await settle(pilot)
        assert compared(app).page.answer.cursor == app.frame.snapshot.cursor == 7
        assert lines(app)[2].count("7/8 …oat mil") == 2


async def test_sampler_and_prompt_of_b_do_not_change_a(real: Make, settle: Go, until: Go) -> None:
    """The temperature keys change B; a prompt of B leaves the walk unchanged."""
    async with real("oat milk").run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await opened(pilot, settle, until, "model3")
        await pilot.press("left_square_bracket", "left_square_bracket")
        await until(lambda: compared(app).page.answer.sampler.value(Temperature) == 0.8)
        assert app.sampler == Sampler()
        await pilot.press("i")
        await pilot.press(*"tea", "enter")
        await until(lambda: compared(app).page.answer.length == 3)
        assert app.frame.snapshot.prompt == "oat milk"
        await pilot.press("d")
        await choose(pilot, until, "cpu bf16")
        await until(lambda: compared(app).page.answer and compared(app).page.answer.model.dtype == "bf16")


async def test_each_side_shows_what_it_draws_from(real: Make, settle: Go, until: Go) -> None:
    """Under its own temperature, whereas divergences are of the models, and say so."""
    async with real("oat").run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await opened(pilot, settle, until, "model1")
        await pilot.press("left_square_bracket", "left_square_bracket", "left_square_bracket")
        await until(lambda: compared(app).page.answer.sampler.value(Temperature) == 0.7)
        await settle(pilot)
        comparison, shown = compared(app).page.answer.comparison, lines(app)
        sharper = comparison.chart_b.candidates[0]
        assert sharper.sampled_probability > sharper.probability
        figures = [
            float(part.rpartition(" ")[2].rstrip("%")) for part in (each.rstrip() for each in shown[7].split("│"))
        ]
        expected = [comparison.chart_a.candidates[0].probability, sharper.sampled_probability]
        assert figures == pytest.approx([100 * each for each in expected], abs=0.01)
        assert "without T and cuts" in shown[4]


async def test_a_patched_model_is_named_so(real: Make, settle: Go, until: Go) -> None:
    """Also as B, where it is the same model; another model has no patch."""
    async with real("oat", ModelChoice(name="model3", tokenizer="bytes", device="cpu")).run_test(
        size=(120, 36)
    ) as pilot:
        app = pilot.app
        await settle(pilot)
        app.runner.submit(lambda session: session.patch((Patch(part="head", layer=0, index=0),)))
        await until(lambda: app.frame.snapshot and app.frame.snapshot.patches)
        await opened(pilot, settle, until, "model3")
        assert lines(app)[0].count("patched 1") == 2
        compared(app)._take_model("model1")
        await until(lambda: compared(app).page.answer and compared(app).page.answer.model.name == "model1")
        assert lines(app)[0].count("patched 1") == 1


async def test_closing_asks_the_lens_again(real: Make, settle: Go, until: Go, press: Go) -> None:
    """The walk continues, and the lens that was shown before has a new answer."""
    async with real("oat").run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "b")
        await opened(pilot, settle, until, "model2")
        await pilot.press("space")
        await until(lambda: app.frame.snapshot and len(app.frame.snapshot.tokens) == 4)
        await pilot.press("escape")
        await settle(pilot)
        assert not isinstance(app.screen, CompareScreen)
        assert app.lens.answer is not None
        assert app.lens.answer.total == 2
        await press(pilot, "space")
        assert len(app.frame.snapshot.tokens) == 5


async def test_a_missing_model_is_one_line_on_the_screen(real: Make, settle: Go, until: Go) -> None:
    """The screen stays open, and another model can be chosen."""
    async with real("oat").run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await opened(pilot, settle, until, "model2")
        compared(app)._take_model("./nowhere.gguf")
        await until(lambda: "nowhere.gguf" in " ".join(lines(app)))
        compared(app)._take_model("model3")
        await until(lambda: compared(app).page.answer and compared(app).page.answer.model.name == "model3")


async def test_b_is_kept_for_the_next_time(real: Make, settle: Go, until: Go) -> None:
    """Its model, sampler and prompt; `m` chooses another one."""
    async with real("oat milk").run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await opened(pilot, settle, until, "model3")
        await pilot.press("left_square_bracket", "i", *"tea", "enter")
        await until(lambda: compared(app).page.answer.length == 3)
        await pilot.press("escape")
        await settle(pilot)
        await pilot.press("c")
        assert isinstance(app.screen, CompareScreen), "no list of models over it"
        await until(lambda: compared(app).page.answer)
        answer = compared(app).page.answer
        assert (answer.model.name, answer.sampler.value(Temperature), answer.length) == ("model3", 0.9, 3)
        await pilot.press("m", "escape", "escape")
        await settle(pilot)
        assert app.state.compared.choice.name == "model3"


async def test_a_comparison_that_was_left_without_b_asks_for_it_again(real: Make, settle: Go, until: Go) -> None:
    async with real("oat").run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for _time in range(2):
            await pilot.press("c")
            await until(lambda: isinstance(pilot.app.screen, ChooseScreen))
            await pilot.press("escape", "escape")
            await settle(pilot)

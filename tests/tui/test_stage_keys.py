"""The stages of the sampler are switched, turned, moved, added and removed by key, and five samplers compared."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.widgets import Input, OptionList

from core.sampling.sampler import PRESETS, Sampler
from tui.app import TokenwalkApp
from tui.dialogs.choose import ChooseScreen
from tui.dialogs.line import LineScreen
from tui.lenses.sampler import SamplerLensPage
from tui.screens.samplers import FIVE, SamplersScreen

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[..., list[str]]
SIZE = (120, 40)
START = "penalty=1.2,top_k=20,xtc=0.5,temp=0.8"


async def looking(pilot: Any, settle: Go) -> SamplerLensPage:
    await settle(pilot)
    pilot.app.do("lens.look", "sampler")
    await settle(pilot)
    assert isinstance(pilot.app.lens, SamplerLensPage)
    return pilot.app.lens


async def choose(pilot: Any, until: Go, name: str) -> None:
    await until(lambda: isinstance(pilot.app.screen, ChooseScreen) and pilot.app.screen.is_mounted)
    options = pilot.app.screen.query_one(OptionList)
    options.highlighted = options.get_option_index(name)
    await pilot.press("enter")


async def write(pilot: Any, until: Go, text: str) -> None:
    await until(lambda: isinstance(pilot.app.screen, LineScreen) and pilot.app.screen.is_mounted)
    pilot.app.screen.query_one(Input).value = text
    await pilot.press("enter")


KEYS = [
    (["enter"], "-penalty=1.2,top_k=20,xtc=0.5,temp=0.8"),
    (["enter", "enter"], START),
    (["3"], "penalty=1.2,top_k=20,-xtc=0.5,temp=0.8"),
    (["9"], START),
    (["shift+right"], "penalty=1.25,top_k=20,xtc=0.5,temp=0.8"),
    (["shift+down", "shift+left"], "penalty=1.2:1024,top_k=20,xtc=0.5,temp=0.8"),
    (["down", "shift+left"], "penalty=1.2,top_k=10,xtc=0.5,temp=0.8"),
    (["down", "down", "shift+down", "shift+right"], "penalty=1.2,top_k=20,xtc=0.5:0.15,temp=0.8"),
    (["ctrl+right"], "top_k=20,penalty=1.2,xtc=0.5,temp=0.8"),
    (["ctrl+right", "ctrl+right", "shift+right"], "top_k=20,xtc=0.5,penalty=1.25,temp=0.8"),
    (["down", "ctrl+left"], "top_k=20,penalty=1.2,xtc=0.5,temp=0.8"),
    (["down", "delete"], "penalty=1.2,xtc=0.5,temp=0.8"),
    (["0"], "penalty=1.1,top_k=20,xtc=0.5,temp=0.8"),
    (["o"], "temp=0.8,penalty=1.2,top_k=20,xtc=0.5"),
    (["delete"] * 6, ""),
]


@pytest.mark.parametrize(("keys", "stages"), KEYS, ids=["_".join(keys) for keys, _ in KEYS])
async def test_keys_change_the_row_of_stages(real: Make, settle: Go, press: Go, keys: list[str], stages: str) -> None:
    """The answer follows, the tokens stay, and no key is more than one change."""
    async with real("oat milk", sampler=Sampler.read(START, seed=2)).run_test(size=SIZE) as pilot:
        lens = await looking(pilot, settle)
        await press(pilot, *keys)
        assert str(pilot.app.sampler) == stages
        assert pilot.app.frame.answer.sampler == pilot.app.sampler == pilot.app.frame.snapshot.sampler
        assert lens.answer is pilot.app.frame.answer
        assert len(pilot.app.frame.snapshot.tokens) == len("oat milk")


async def test_a_stage_is_added_at_its_usual_place(
    real: Make, settle: Go, press: Go, until: Go, screen_lines: Lines
) -> None:
    async with real("oat milk").run_test(size=SIZE) as pilot:
        app, _ = pilot.app, await looking(pilot, settle)
        await pilot.press("N")
        await choose(pilot, until, "dry")
        await until(lambda: str(app.sampler) == "dry=0.8,temp=1,top_k=0,top_p=1,min_p=0")
        await settle(pilot)
        assert "1 DRY · multiplier 0.80 · base 1.75" in " ".join(screen_lines(app))
        await pilot.press("N")
        await choose(pilot, until, "ban")
        await write(pilot, until, "ban=x")
        await until(lambda: "is not a token" in str(app.screen.query_one(".problem").render()))
        await write(pilot, until, "ban='x'")
        await until(lambda: str(app.sampler).startswith("ban='x',dry=0.8"))
        await settle(pilot)
        assert app.frame.answer.stages[0].removed == 1


async def test_the_sampler_is_chosen_by_name_or_written(real: Make, settle: Go, until: Go) -> None:
    async with real("oat milk", sampler=Sampler(seed=7)).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await pilot.press("P")
        await choose(pilot, until, "llama.cpp")
        await until(lambda: app.sampler == Sampler.read(PRESETS["llama.cpp"], seed=7))
        await settle(pilot)
        assert "k 40 p 0.95 min-p 0.05 T 0.80" in app.status.render().plain
        await looking(pilot, settle)
        await pilot.press("f")
        await write(pilot, until, "foo=1")
        await until(lambda: "'foo' is not a stage" in str(app.screen.query_one(".problem").render()))
        await write(pilot, until, "typical=0.5,temp=0")
        await until(lambda: str(app.sampler) == "typical=0.5,temp=0")


async def test_a_mask_that_removes_all_is_shown_and_the_app_lives(
    real: Make, settle: Go, press: Go, screen_lines: Lines
) -> None:
    everything = ";".join(map(str, range(257)))
    async with real("oat milk", sampler=Sampler.read(f"ban={everything},temp=0.8")).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        assert "ban leaves no token" in str(app.candidates.border_subtitle)
        await press(pilot, "space")
        assert len(app.frame.snapshot.tokens) == 8
        await looking(pilot, settle)
        assert "ban leaves no token to draw" in " ".join(screen_lines(app))
        await press(pilot, "1", "space")
        assert len(app.frame.snapshot.tokens) == 9


async def test_a_long_sampler_is_summed_up_in_the_status_line(real: Make, settle: Go) -> None:
    sampler = Sampler.read("penalty=1.2,dry=0.8,top_n_sigma=1,top_k=40,typical=0.9,top_p=0.9,xtc=0.5,temp=0.8")
    async with real("oat", sampler=sampler).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "rep 1.20 … T 0.80 · 8 stages" in pilot.app.status.render().plain


# Five samplers --------------------------------------------------------------------------------------------------------


def compared(app: TokenwalkApp) -> SamplersScreen:
    return next(screen for screen in app.screen_stack if isinstance(screen, SamplersScreen))


async def opened(pilot: Any, settle: Go, until: Go) -> SamplersScreen:
    await settle(pilot)
    await pilot.press("F")
    await until(lambda: any(isinstance(each, SamplersScreen) for each in pilot.app.screen_stack))
    await until(lambda: compared(pilot.app).page.answer is not None)
    return compared(pilot.app)


@pytest.mark.parametrize("size", [(80, 24), (200, 50)], ids=str)
async def test_five_samplers_are_on_one_screen(real: Make, settle: Go, until: Go, size: tuple[int, int]) -> None:
    async with real("oat milk", sampler=Sampler(seed=3)).run_test(size=size) as pilot:
        screen = await opened(pilot, settle, until)
        shown = [screen.page.render_line(y).text for y in range(4)]
        assert all(name in shown[0] for name in FIVE)
        assert shown[0].count("│") == 4
        assert [str(column.sampler) for column in screen.page.answer.columns] == list(FIVE.values())
        assert {column.sampler.seed for column in screen.page.answer.columns} == {3}
        assert [len(column.pieces) for column in screen.page.answer.columns] == [20] * 5


async def test_a_column_is_changed_and_used(real: Make, settle: Go, until: Go) -> None:
    async with real("oat milk").run_test(size=(120, 36)) as pilot:
        app, screen = pilot.app, await opened(pilot, settle, until)
        await pilot.press("right", "greater_than_sign")
        await until(lambda: str(screen.page.answer.columns[1].sampler) == "top_k=50")
        await pilot.press("e")
        await write(pilot, until, "xtc=0.5,temp=1.5")
        await until(lambda: str(screen.page.answer.columns[1].sampler) == "xtc=0.5,temp=1.5")
        await pilot.press("r", "minus")
        await until(lambda: [len(column.pieces) for column in screen.page.answer.columns] == [10] * 5)
        assert screen.seed == 1
        await pilot.press("P")
        await choose(pilot, until, "creative")
        await until(lambda: screen.names[1] == "creative")
        assert app.sampler == Sampler()
        await pilot.press("enter")
        await until(lambda: app.sampler == Sampler.read("creative", seed=1))
        await settle(pilot)
        assert not isinstance(app.screen, SamplersScreen)


WORDS = [
    ("temp=0,top_k=9", "no effect: only one token is left before it"),
    ("top_k=1,top_p=0.9", "no effect: only one token is left before it"),
    ("temp=0,ban='e'", "no effect: only one token is left before it"),
    ("top_k=9,temp=0", ""),
    ("temp=0,-top_k=9", ""),
]


@pytest.mark.parametrize(("stages", "words"), WORDS, ids=[stages for stages, _ in WORDS])
async def test_a_stage_that_one_token_reaches_says_so(
    real: Make, settle: Go, press: Go, screen_lines: Lines, stages: str, words: str
) -> None:
    """The words stand beside the stage under the cursor; the stage changes nothing."""
    async with real("oat milk", sampler=Sampler.read(stages, seed=2)).run_test(size=SIZE) as pilot:
        lens = await looking(pilot, settle)
        await press(pilot, "down")
        shown = " ".join(screen_lines(pilot.app))
        assert ("no effect" in shown) == bool(words)
        assert words in shown
        assert not words or lens.answer.stages[1].moved == 0


async def test_mirostat_names_what_later_stages_change(real: Make, settle: Go, press: Go, screen_lines: Lines) -> None:
    """Stages behind mirostat cut too, and then S is not that of llama.cpp, which leaves them out."""
    async with real("oat milk", sampler=Sampler.read("mirostat=5,top_k=9")).run_test(size=SIZE) as pilot:
        await looking(pilot, settle)
        assert "S measured after later stages" in " ".join(screen_lines(pilot.app))
        await press(pilot, "2")
        await press(pilot, "up")
        assert "S measured" not in " ".join(screen_lines(pilot.app))

"""The training screen: its form, losses and probe, pausing, earlier steps, and walking from a checkpoint."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, OptionList

from core.errors import UserError
from core.loading import ladder, tokenizers
from core.loading.checkpoints import folders
from core.loading.checkpoints.recipe import SIZES, Recipe
from core.loading.choice import Hyperparameters
from core.sampling.values import Chart
from core.training.events import Begun, CheckpointSaved, Ended, Evaluated, Stepped
from core.training.status import TrainingStatus
from core.world import tiny
from core.world.automaton import Floors
from tui.app import TokenwalkApp
from tui.dialogs.choose import ChooseScreen
from tui.panels.learning import clock
from tui.screens.recipe import RecipeScreen
from tui.screens.recipe_fields import FIELDS, ValueSelector
from tui.screens.train import TrainScreen
from tui.settings import Settings

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Screen = Callable[[TokenwalkApp], list[str]]
Compare = Callable[..., bool]

SIZE = (120, 36)
SAMPLES = (" in in in in in", "\nThe the the cup", " my coffee.\nThe train to Rome was full")
SMALL = Recipe(rung="model1", changes=Hyperparameters(context=16), steps=6, every=2, batch=4)


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of trainings, in a temporary folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(folders, "home", lambda: tmp_path / "trained")
    return tmp_path / "trained"


# Invented trainings -------------------------------------------------------------------------------------------------


def chart_at(scenes: Any, step: int, world: bool) -> Chart:
    """The chart of the probe after some steps: flat at first, `my` in the end."""
    share = min(0.95, step / 700)
    pieces = [" my", " our", "\x1b[2J", " [/b]", b"\xf0\x9f", " their", " the", " his", " her", " in", "字", " on"]
    found = scenes.chart(pieces, [share or 0.001, *((1 - share) / 4 / 2**n for n in range(11))])
    if not world:
        return found
    true = {0: 0.75, 1: 0.25}
    candidates = tuple(replace(c, true=true.get(c.rank, 0.0)) for c in found.candidates)
    return replace(found, candidates=candidates, divergence_bits=9.9 * math.exp(-step / 200))


def training_after(
    scenes: Any, steps: int = 375, recipe: Recipe = Recipe(), folder: Path = Path("/nowhere"), **more: Any
) -> TrainingStatus:
    """A training after `steps` steps; each evaluation left a checkpoint in `folder`."""
    world = not recipe.text
    floors = Floors(4.93, 1.96, 0.80) if world else None
    progress = TrainingStatus(recipe, "model5-world" if world else "model5-text")
    progress = progress.after(Begun("model5", "the tiny world", 256_960, 825, 64, recipe.steps, 6.72, floors, 0))
    for step in range(steps + 1):
        loss = 0.9 + 5.8 * math.exp(-step / 60)
        if step:
            noise = 0.05 * math.sin(1.7 * step)
            left = (recipe.steps - step) / 8
            progress = progress.after(Stepped(step, loss + noise, recipe.lr_at(step - 1), 0.5, 12_345.0, left))
        if step % recipe.every == 0:
            sample = SAMPLES[min(2, step // 100)]
            progress = progress.after(Evaluated(step, loss, chart_at(scenes, step, world), sample))
            progress = progress.after(CheckpointSaved(step, folder / folders.STEP.format(step)))
    return replace(progress, **more)


def train_screen(app: TokenwalkApp) -> TrainScreen:
    assert isinstance(app.screen, TrainScreen)
    return app.screen


def form(app: TokenwalkApp) -> RecipeScreen:
    assert isinstance(app.screen, RecipeScreen)
    return app.screen


@pytest.fixture
def watching(scripted: Make, scenes: Any) -> Make:
    """An app over a scripted runner that has a training, or none."""

    def make(progress: TrainingStatus | None = None, **given: Any) -> TokenwalkApp:
        return scripted(replace(scenes.oat_milk(), training=progress), text="oat", **given)

    return make


async def opened(pilot: Any, until: Go) -> None:
    """Press `t` and wait for the screen it opens."""
    await until(lambda: pilot.app.frame.snapshot is not None)
    await pilot.press("t")
    await until(lambda: isinstance(pilot.app.screen, TrainScreen | RecipeScreen))
    await pilot.pause()


async def shown(pilot: Any, until: Go, progress: TrainingStatus) -> None:
    """Show a training and wait until it is drawn, also where drawings are delayed."""
    app = pilot.app
    app.runner.show(replace(app.runner.frame, training=progress))
    screen = next(screen for screen in app.screen_stack if isinstance(screen, TrainScreen))
    await until(lambda: screen.progress is progress and not screen._due)
    await pilot.pause()


def fill(screen: RecipeScreen, **values: str) -> None:
    for name, value in values.items():
        field = screen.fields[name]
        field.value = value
        if isinstance(field, ValueSelector):
            field.post_message(field.Changed())


# The form ----------------------------------------------------------------------------------------------------------


async def test_without_a_training_the_form_opens_with_the_default_recipe(
    watching: Make, until: Go, screen_lines: Screen, apart: Path
) -> None:
    async with watching().run_test(size=(80, 24)) as pilot:
        await opened(pilot, until)
        assert form(pilot.app).chosen() == Recipe()
        whole = Recipe().config(tokenizers.load_tokenizer("world").vocab_size).parameter_count()
        assert whole == 256_960
        await until(lambda: "257 k parameters" in "\n".join(screen_lines(pilot.app)))
        assert "saved as model5-world" in "\n".join(screen_lines(pilot.app))
        await pilot.press("enter")
        assert pilot.app.runner.trainings == [(Recipe(), apart / "model5-world")]


@pytest.mark.parametrize(
    ("values", "field", "problem"),
    [
        ({"steps": "0"}, "steps", "the number of steps must be at least 1"),
        ({"batch": "0"}, "batch", "the batch must be at least 1"),
        ({"heads": "5"}, "heads", "cannot be split among 5 heads"),
        ({"embed_dim": "0"}, "embed_dim", "the embedding size must be at least 1"),
        ({"context": "0"}, "context", "the context must be at least 1"),
        ({"lr": "0"}, "lr", "the learning rate must be above 0"),
        ({"lr": "-.e"}, "lr", "the learning rate must be a number"),
        ({"decay": "-1"}, "decay", "the weight decay must be 0 or more"),
        ({"clip": "0"}, "clip", "the norm to clip gradients to must be above 0"),
        ({"every": "0"}, "every", "the number of steps between evaluations must be at least 1"),
        ({"seed": "99999999999"}, "seed", "the seed must be between"),
        ({"text": "/nowhere/[b]a"}, "text", "there is no text file /nowhere/[b]a"),
        ({"text": "~nobody-at-all/a"}, "text", "there is no such user"),
    ],
    ids=lambda value: "-".join(value.values())[:12] if isinstance(value, dict) else None,
)
async def test_an_invalid_value_is_marked_at_its_field_and_not_started(
    watching: Make, until: Go, screen_lines: Screen, values: dict[str, str], field: str, problem: str
) -> None:
    async with watching().run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        screen = form(pilot.app)
        fill(screen, **values)
        await until(lambda: problem in " ".join(" ".join(screen_lines(pilot.app)).replace("│", " ").split()))
        assert [name for name, label in screen.names.items() if label.has_class("wrong")] == [field]
        await pilot.press("enter")
        assert form(pilot.app) is screen
        assert not pilot.app.runner.trainings


async def test_sizes_follow_the_rung_and_fields_it_lacks_are_disabled(watching: Make, until: Go) -> None:
    async with watching().run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        screen = form(pilot.app)
        await pilot.press("right", "right")  # model6, then model1
        assert screen.chosen() == Recipe(rung="model1")
        assert screen.fields["blocks"].disabled and screen.fields["heads"].disabled
        lr = screen.fields["lr"]
        assert isinstance(lr, Input) and lr.placeholder == "0.01"
        fill(screen, embed_dim="32")
        await pilot.press("left")
        await until(lambda: screen.fields["heads"].value == "4")
        assert screen.fields["activation"].value == "silu"
        assert screen.chosen() == Recipe(rung="model6", changes=replace(SIZES, embed_dim=32))


async def test_arrow_keys_go_along_the_fields_and_scroll(watching: Make, until: Go, tmp_path: Path) -> None:
    (tmp_path / "a text").write_text("oat milk " * 200)
    async with watching().run_test(size=(80, 24)) as pilot:
        await opened(pilot, until)
        screen = form(pilot.app)
        fill(screen, text=str(tmp_path / "a text"))
        await pilot.pause()
        seen = []
        for _ in FIELDS:
            seen.append(next(name for name, field in screen.fields.items() if field is pilot.app.focused))
            assert pilot.app.focused.region in screen.query_one("#fields").region
            await pilot.press("down")
            await pilot.pause()
        assert seen == list(FIELDS)
        await pilot.press("up", "up")
        assert pilot.app.focused is screen.fields["vocabulary"]


async def test_a_text_file_has_a_vocabulary_setting(
    watching: Make, until: Go, screen_lines: Screen, tmp_path: Path, apart: Path
) -> None:
    (tmp_path / "My Notes.txt").write_text("oat milk " * 200)
    async with watching().run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        screen = form(pilot.app)
        fill(screen, text=str(tmp_path / "My Notes.txt"))
        await until(lambda: "+ 64 V parameters" in "\n".join(screen_lines(pilot.app)))
        fill(screen, vocabulary="bytes")
        count = ladder.rung("model5", 257, SIZES).config.parameter_count()
        await until(lambda: f"{count / 1000:.0f} k parameters" in "\n".join(screen_lines(pilot.app)))
        await pilot.press("enter")
        assert pilot.app.runner.trainings == [
            (Recipe(text=str(tmp_path / "My Notes.txt"), vocabulary="bytes"), apart / "model5-my-notes")
        ]


async def test_without_a_training_the_screen_names_the_keys_that_start_one(
    watching: Make, until: Go, screen_lines: Screen
) -> None:
    async with watching().run_test(size=(80, 24)) as pilot:
        await opened(pilot, until)
        await pilot.press("escape")
        lines = "\n".join(screen_lines(pilot.app))
        assert "no training yet" in lines
        assert "train a rung" in lines
        await pilot.press("space", "x", "left", "enter", "o")
        assert pilot.app.runner.training_requests == []
        await pilot.press("e")
        await until(lambda: pilot.app._notifications)
        assert "there is no training in" in next(iter(pilot.app._notifications)).message
        await pilot.press("n")
        form(pilot.app)


# Watching ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (160, 45)])
async def test_a_running_training_is_shown(
    watching: Make, until: Go, scenes: Any, screen_lines: Screen, size: tuple[int, int]
) -> None:
    """Progress, rates, losses to compare with, the chart of the probe with true probabilities, and a sample."""
    async with watching(training_after(scenes)).run_test(size=size) as pilot:
        await opened(pilot, until)
        lines = screen_lines(pilot.app)
        assert "▶ training" in lines[0] + lines[1]
        whole = "\n".join(lines)
        for words in ("375/1,500", "12,345 tok/s", "2:20 left", "ln V        6.72", "unigram     4.93"):
            assert words in whole
        for words in (
            "last token  1.96",
            "context     0.80",
            "KL(true‖model) 1.720 bits",
            "after step 350",
            "coffee.↵The",
        ):
            assert words in whole
        assert "\\x1b[2J" in whole
        row = next(line for line in lines if "·my" in line and "%" in line)
        assert "50.00%" in row and "75.00%" in row
        assert "│" in row.strip("│ ")
        assert whole.count("●") > 3 and whole.count("◆") >= 1
        panels = (train_screen(pilot.app).standing, train_screen(pilot.app).losses, train_screen(pilot.app).probe)
        assert all(panel.region in pilot.app.screen.region for panel in panels)


async def test_new_steps_do_not_move_what_is_drawn(
    watching: Make, until: Go, scenes: Any, screen_lines: Screen
) -> None:
    """Points of the plot stay; numbers stay right-aligned."""
    before, after = training_after(scenes, 349), training_after(scenes, 362)
    after = replace(after, evaluations=before.evaluations, saved=before.saved)
    async with watching(before).run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        first = screen_lines(pilot.app)
        await shown(pilot, until, after)
        second = screen_lines(pilot.app)
        assert "362/1,500" in second[1]
        assert [line.find("tok/s") for line in first] == [line.find("tok/s") for line in second]
        assert [line.find("gradient") for line in first] == [line.find("gradient") for line in second]
        for one, other in zip(first[3:-1], second[3:-1], strict=True):
            moved = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
            assert all(a in " ╎" or "\u2800" < a <= "\u28ff" for a, _ in moved), moved
            assert all("\u2800" < b <= "\u28ff" for _, b in moved), moved


async def test_o_changes_the_scale(watching: Make, until: Go, scenes: Any, screen_lines: Screen) -> None:
    async with watching(training_after(scenes)).run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        assert "validation · logarithmic" in "\n".join(screen_lines(pilot.app))
        await pilot.press("o")
        lines = screen_lines(pilot.app)
        assert "validation · linear" in "\n".join(lines)
        assert any(line.lstrip("│ ").startswith("0 ┤") for line in lines)


async def test_a_text_file_has_ln_v_only_and_no_true_distribution(
    watching: Make, until: Go, scenes: Any, screen_lines: Screen
) -> None:
    recipe = Recipe(text="/home/[b]me/notes\x1b.txt", probe="[/b]\x1b oat")
    async with watching(training_after(scenes, recipe=recipe)).run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        whole = "\n".join(screen_lines(pilot.app))
        assert "ln V        6.72" in whole and "unigram" not in whole
        assert "H 6.25 bits" in whole and "KL(true" not in whole
        assert "notes\\x1b.txt" in whole
        assert "[/b]\\x1b oat" in whole


async def test_space_pauses_and_continues_and_x_stops(
    watching: Make, until: Go, scenes: Any, screen_lines: Screen
) -> None:
    progress = training_after(scenes)
    async with watching(progress).run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        await pilot.press("space")
        await shown(pilot, until, replace(progress, state="paused"))
        assert "‖ paused" in screen_lines(pilot.app)[1]
        await pilot.press("space", "x")
        await shown(pilot, until, replace(progress, state="ended"))
        assert "■ ended" in screen_lines(pilot.app)[1]
        assert "pause" not in screen_lines(pilot.app)[-1]
        await pilot.press("space", "x")  # there is nothing to act on
        assert pilot.app.runner.training_requests == ["pause", "resume", "stop"]


async def test_arrow_keys_show_earlier_steps_and_end_follows_the_newest(
    watching: Make, until: Go, scenes: Any, screen_lines: Screen
) -> None:
    progress = training_after(scenes)
    async with watching(progress).run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        screen = train_screen(pilot.app)

        def at() -> str:
            return str(screen.probe.border_subtitle)

        assert at() == "after step 350"
        await pilot.press("left", "left")
        assert at() == "after step 250 · end follows the newest"
        assert any("◆" in line and " 250" in line for line in screen_lines(pilot.app)[20:])
        await shown(pilot, until, training_after(scenes, 400))
        assert at().startswith("after step 250")
        await pilot.press("home", "left")
        assert at().startswith("after step 0 ")
        assert "in in in" in screen_lines(pilot.app)[screen.probe.region.y + 1]
        await pilot.press("end")
        assert at() == "after step 400"
        await shown(pilot, until, training_after(scenes, 450))
        assert at() == "after step 450"
        await pilot.press("left", "right", "right")
        assert at() == "after step 450"


async def test_enter_walks_from_the_shown_checkpoint(watching: Make, until: Go, scenes: Any, apart: Path) -> None:
    folder = apart / "model5-world"
    folder.mkdir(parents=True)
    (folder / folders.STEP.format(300)).touch()
    async with watching(training_after(scenes, folder=folder)).run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        await pilot.press("enter")
        assert "the checkpoint of step 350 was deleted" in next(iter(pilot.app._notifications)).message
        await pilot.press("left", "enter")
        assert len(pilot.app.screen_stack) == 1
        assert [choice.name for choice, _ in pilot.app.runner.loads][1:] == ["model5-world@300"]


async def test_the_training_continues_while_the_screen_is_closed(
    watching: Make, until: Go, scenes: Any, screen_lines: Screen
) -> None:
    """The status line shows its progress, and `t` opens the screen again."""
    async with watching(training_after(scenes)).run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        await pilot.press("escape")
        await until(lambda: len(pilot.app.screen_stack) == 1)
        assert "◌ model5-world   375/1,500" in screen_lines(pilot.app)[-2]
        await pilot.press("space")
        assert pilot.app.runner.operations
        assert pilot.app.runner.training_requests == []
        await opened(pilot, until)
        assert "375/1,500" in screen_lines(pilot.app)[1]


async def test_a_problem_is_shown_with_the_keys_to_continue_or_start_again(
    watching: Make, until: Go, scenes: Any, screen_lines: Screen
) -> None:
    wrong = "the loss is nan at step 376: it [b]diverged[/b]\x1b, most likely by a learning rate of 4 that is too high"
    progress = training_after(scenes).after(Ended(375, UserError(wrong)))
    async with watching(progress).run_test(size=(80, 24)) as pilot:
        await opened(pilot, until)
        lines = screen_lines(pilot.app)
        assert "! stopped" in lines[0]
        assert "[b]diverged[/b]\\x1b" in "\n".join(lines)
        assert "n starts anew" in " ".join(lines)
        assert train_screen(pilot.app).probe.region in pilot.app.screen.region
        await pilot.press("space", "n")
        assert pilot.app.runner.training_requests == ["resume"]
        assert form(pilot.app).chosen() == Recipe()
        await pilot.press("enter")
        await shown(pilot, until, replace(progress, state="preparing", problem=""))
        assert "stopped" not in screen_lines(pilot.app)[0]


async def test_steps_before_a_resumed_training_have_losses_only(
    watching: Make, until: Go, scenes: Any, screen_lines: Screen
) -> None:
    whole = training_after(scenes)
    later = replace(whole, evaluations=whole.evaluations[-2:], losses=whole.losses[300:])
    later = replace(later, earlier_losses=tuple((each.step, each.loss) for each in whole.evaluations[:-2]))
    async with watching(later).run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        assert len(train_screen(pilot.app).progress.evaluated_steps) == 8
        await pilot.press("home")
        assert "not measured again after resuming" in "\n".join(screen_lines(pilot.app))
        assert "6.7000" in "\n".join(screen_lines(pilot.app))


@pytest.mark.parametrize(("seconds", "words"), [(0, "0:00"), (61.9, "1:01"), (3600, "1:00:00"), (math.inf, "99:59:59")])
def test_seconds_left_are_shown_as_a_clock(seconds: float, words: str) -> None:
    assert clock(seconds) == words


# Real trainings ----------------------------------------------------------------------------------------------------


async def test_a_rung_is_trained_and_walked_from(real: Make, settle: Go, until: Go, apart: Path) -> None:
    """From the form to the last step; from a checkpoint to a walk."""
    tiny.automaton()  # slow the first time
    async with real("oat").run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await pilot.press("t")
        fill(form(app), rung="model1", context="16", steps="6", every="2", batch="4")
        await pilot.pause()
        await pilot.press("enter")
        await until(lambda: app.frame.training and app.frame.training.state == "ended")
        await settle(pilot)
        progress = app.frame.training
        assert progress.recipe == SMALL
        assert [each.step for each in progress.evaluations] == [0, 2, 4, 6]
        assert [each.path for each in progress.evaluated_steps] == [
            apart / "model1-world" / folders.STEP.format(n) for n in (0, 2, 4, 6)
        ]
        assert progress.evaluations[0].loss > progress.evaluations[-1].loss > progress.begun.floors.context
        assert all(each.chart.divergence_bits > 0 for each in progress.evaluations)
        assert sum(c.true for c in progress.evaluations[-1].chart.candidates) <= 1

        await pilot.press("left", "left", "enter")
        await until(lambda: app.frame.model.name == "model1-world@2")
        await settle(pilot)
        assert app.frame.model.tokenizer == "world"


async def test_a_stopped_training_is_continued_from_the_list(
    real: Make, settle: Go, until: Go, apart: Path, tmp_path: Path
) -> None:
    """It continues at its step, and its earlier checkpoints can be walked from."""
    (tmp_path / "text").write_text("I prefer oat milk in my coffee. " * 20)
    recipe = replace(SMALL, text=str(tmp_path / "text"), vocabulary="bytes", steps=2000, every=1)
    async with real("oat").run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        app.runner.train(recipe, apart / "another")
        await until(lambda: app.frame.training and len(app.frame.training.saved) > 3)
        app.runner.stop_training()
        await until(lambda: app.frame.training.state == "ended")
        left = app.frame.training.step
        assert 3 <= left < 2000
        await pilot.press("t")
        await pilot.press("n", "escape", "e")
        await until(lambda: isinstance(app.screen, ChooseScreen))
        await pilot.pause()
        options = app.screen.query_one(OptionList)
        assert options.get_option_at_index(0).id == "another"
        await pilot.press("enter")
        await until(lambda: app.frame.training.last and app.frame.training.last.step > left)
        app.runner.pause_training()
        await until(lambda: app.frame.training.state == "paused")
        resumed = app.frame.training
        assert resumed.begun.step == left
        assert resumed.evaluated_steps[0].step == 0 and resumed.evaluated_steps[0].evaluation is None
        assert resumed.evaluated_steps[0].path.is_file()


async def test_a_training_that_fails_does_not_disturb_the_walk(
    real: Make, settle: Go, until: Go, apart: Path, screen_lines: Screen, press: Go, tmp_path: Path
) -> None:
    (tmp_path / "short").write_text("oat")
    async with real("oat").run_test(size=SIZE) as pilot:
        await settle(pilot)
        await pilot.press("t", "escape")
        pilot.app.runner.train(replace(SMALL, text=str(tmp_path / "short")), apart / "short")
        await until(lambda: pilot.app.frame.training and pilot.app.frame.training.problem)
        await settle(pilot)
        await until(lambda: "! stopped" in screen_lines(pilot.app)[1])
        await until(lambda: "too few for a sequence of 16" in "\n".join(screen_lines(pilot.app)))
        await press(pilot, "escape", "space")
        assert len(pilot.app.frame.snapshot.tokens) == 4


# Pictures ----------------------------------------------------------------------------------------------------------


def opened_with_keys(until: Go, *keys: str) -> Callable[[Any], Awaitable[None]]:
    async def go(pilot: Any) -> None:
        await opened(pilot, until)
        await pilot.press(*keys)
        if isinstance(pilot.app.screen, RecipeScreen):
            screen = pilot.app.screen
            await until(lambda: len(screen._vocab_sizes) == 3)
        for _ in range(3):
            await pilot.pause()

    return go


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("keys", [(), ("left", "left", "left", "o")], ids=["newest", "back"])
def test_a_training(
    snap_compare: Compare, watching: Make, scenes: Any, until: Go, keys: tuple[str, ...], size: tuple[int, int]
) -> None:
    assert snap_compare(watching(training_after(scenes)), run_before=opened_with_keys(until, *keys), terminal_size=size)


@pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_form(snap_compare: Compare, watching: Make, until: Go, size: tuple[int, int]) -> None:
    assert snap_compare(watching(), run_before=opened_with_keys(until), terminal_size=size)


def test_a_training_in_the_light(snap_compare: Compare, watching: Make, scenes: Any, until: Go) -> None:
    app = watching(training_after(scenes), settings=Settings(theme="tokenwalk-light"))
    assert snap_compare(app, run_before=opened_with_keys(until, "left"), terminal_size=SIZE)


def test_nothing_learns(snap_compare: Compare, watching: Make, until: Go) -> None:
    assert snap_compare(watching(), run_before=opened_with_keys(until, "escape"), terminal_size=(80, 24))


def test_a_training_that_stopped(snap_compare: Compare, watching: Make, scenes: Any, until: Go) -> None:
    words = "the loss is nan at step 376: it diverged, most likely by a learning rate of 4 that is too high"
    progress = training_after(scenes).after(Ended(375, UserError(words)))
    assert snap_compare(watching(progress), run_before=opened_with_keys(until), terminal_size=(80, 24))

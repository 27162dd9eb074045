"""The training screen: losses and probe, pausing, earlier steps, and walking from a checkpoint."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import OptionList
from training_screens import (
    SIZE,
    SMALL,
    Compare,
    Go,
    Make,
    Screen,
    fill,
    form,
    opened,
    opened_with_keys,
    shown,
    train_screen,
    training_after,
)

from core.errors import UserError
from core.loading.checkpoints import folders
from core.loading.checkpoints.recipe import Recipe
from core.training.events import Ended, HeadMoment
from core.training.status import TrainingStatus
from core.world import tiny
from tui.dialogs.choose import ChooseScreen
from tui.panels.learning import clock
from tui.settings import Settings

pytestmark = pytest.mark.usefixtures("trainings_folder")


# Watching -------------------------------------------------------------------------------------------------------------


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
        for text in ("375/1,500", "12,345 tok/s", "2:20 left", "ln V        6.72", "unigram     4.93"):
            assert text in whole
        for text in (
            "last token  1.96",
            "context     0.80",
            "KL(true‖model) 1.720 bits",
            "after step 350",
            "coffee.↵The",
        ):
            assert text in whole
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
        assert "space continue" in screen_lines(pilot.app)[-1]
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


async def test_enter_walks_from_the_shown_checkpoint(
    watching: Make, until: Go, scenes: Any, trainings_folder: Path
) -> None:
    folder = trainings_folder / "model5-world"
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


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.9, "1:01"), (3600, "1:00:00"), (math.inf, "99:59:59")])
def test_seconds_left_are_shown_as_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


# Real trainings -------------------------------------------------------------------------------------------------------


async def test_a_rung_is_trained_and_walked_from(real: Make, settle: Go, until: Go, trainings_folder: Path) -> None:
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
            trainings_folder / "model1-world" / folders.STEP.format(n) for n in (0, 2, 4, 6)
        ]
        assert progress.evaluations[0].loss > progress.evaluations[-1].loss > progress.begun.floors.context
        assert all(each.chart.divergence_bits > 0 for each in progress.evaluations)
        assert sum(c.true for c in progress.evaluations[-1].chart.candidates) <= 1

        await pilot.press("left", "left", "enter")
        await until(lambda: app.frame.model.name == "model1-world@2")
        await settle(pilot)
        assert app.frame.model.tokenizer == "world"


async def test_a_stopped_training_is_continued_from_the_list(
    real: Make, settle: Go, until: Go, trainings_folder: Path, tmp_path: Path
) -> None:
    """It continues at its step, and its earlier checkpoints can be walked from."""
    (tmp_path / "text").write_text("I prefer oat milk in my coffee. " * 20)
    recipe = replace(SMALL, text=str(tmp_path / "text"), vocabulary="bytes", steps=2000, every=1)
    async with real("oat").run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        app.runner.train(recipe, trainings_folder / "another")
        await until(lambda: app.frame.training and len(app.frame.training.saved) > 3)
        app.runner.stop_training()
        await until(lambda: app.frame.training.state == "ended")
        left = app.frame.training.step
        assert 3 <= left < 2000
        await pilot.press("t")
        await pilot.press("n", "escape", "e")
        await until(lambda: isinstance(app.screen, ChooseScreen) and app.screen.is_mounted)
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
    real: Make, settle: Go, until: Go, trainings_folder: Path, screen_lines: Screen, press: Go, tmp_path: Path
) -> None:
    (tmp_path / "short").write_text("oat")
    async with real("oat").run_test(size=SIZE) as pilot:
        await settle(pilot)
        await pilot.press("t", "escape")
        pilot.app.runner.train(replace(SMALL, text=str(tmp_path / "short")), trainings_folder / "short")
        await until(lambda: pilot.app.frame.training and pilot.app.frame.training.problem)
        await settle(pilot)
        await until(lambda: "! stopped" in screen_lines(pilot.app)[1])
        await until(lambda: "too few for one sequence of 16" in "\n".join(screen_lines(pilot.app)))
        await press(pilot, "escape", "space")
        assert len(pilot.app.frame.snapshot.tokens) == 4


# Pictures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("keys", [(), ("left", "left", "left", "o")], ids=["newest", "back"])
def test_a_training(
    snap_compare: Compare, watching: Make, scenes: Any, until: Go, keys: tuple[str, ...], size: tuple[int, int]
) -> None:
    assert snap_compare(watching(training_after(scenes)), run_before=opened_with_keys(until, *keys), terminal_size=size)


def test_a_training_in_the_light(snap_compare: Compare, watching: Make, scenes: Any, until: Go) -> None:
    app = watching(training_after(scenes), settings=Settings(theme="tokenwalk-light"))
    assert snap_compare(app, run_before=opened_with_keys(until, "left"), terminal_size=SIZE)


def test_nothing_learns(snap_compare: Compare, watching: Make, until: Go) -> None:
    assert snap_compare(watching(), run_before=opened_with_keys(until, "escape"), terminal_size=(80, 24))


def test_a_training_that_stopped(snap_compare: Compare, watching: Make, scenes: Any, until: Go) -> None:
    text = "the loss is nan at step 376: it diverged, most likely by a learning rate of 4 that is too high"
    progress = training_after(scenes).after(Ended(375, UserError(text)))
    assert snap_compare(watching(progress), run_before=opened_with_keys(until), terminal_size=(80, 24))


# Heads ----------------------------------------------------------------------------------------------------------------


def with_heads(progress: TrainingStatus) -> TrainingStatus:
    """Scores of two layers of two heads, of which head 1.0 rises from 0 to 0.8."""
    evaluations = tuple(
        replace(each, heads=HeadMoment(((0.1, 0.2), (0.3, 0.4)), ((0.0, 0.01), (0.8 * n / 7, 0.02)), ((0.5, 0.5),) * 2))
        for n, each in enumerate(progress.evaluations)
    )
    return replace(progress, evaluations=evaluations)


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_the_scores_of_heads_appear_over_the_evaluations(
    watching: Make, until: Go, scenes: Any, screen_lines: Screen, size: tuple[int, int]
) -> None:
    """`i` turns through induction, previous token and copying, and back to the losses."""
    async with watching(with_heads(training_after(scenes))).run_test(size=size) as pilot:
        await opened(pilot, until)
        await pilot.press("i")
        await pilot.pause()
        lines = screen_lines(pilot.app)
        assert any("heads · induction" in line for line in lines)
        (row,) = (line for line in lines if " 1.0 " in line and "0.800" in line)
        assert row.index("░") < row.index("▓") < row.index("█")
        assert "350 steps" in "\n".join(lines)
        await pilot.press("left", "left", "left")
        await pilot.pause()
        assert "0.457" in "\n".join(screen_lines(pilot.app)), "the number is that of the step that is shown"
        await pilot.press("i")
        await pilot.pause()
        assert any("heads · previous token" in line for line in screen_lines(pilot.app))
        await pilot.press("i", "i")
        await pilot.pause()
        assert any("loss in nats per token" in line for line in screen_lines(pilot.app))


async def test_a_training_without_heads_says_so(watching: Make, until: Go, scenes: Any, screen_lines: Screen) -> None:
    async with watching(training_after(scenes)).run_test(size=(80, 24)) as pilot:
        await opened(pilot, until)
        await pilot.press("i")
        await pilot.pause()
        assert "no head is measured yet; a model has heads from model3 on" in "\n".join(screen_lines(pilot.app))

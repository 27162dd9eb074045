"""The course in the app: a lesson of its own is played by keys and clicks, and the person's walk is kept."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from apps import delivered, settle
from textual.pilot import Pilot

from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp
from tui.course.contents import Contents
from tui.walk.course import CourseSource

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[..., list[str]]
TRAINED = ModelChoice(name="model5-trained", device="cpu")
FIRST = """---
title: A first look
---

## One token

The next token is {{ top(1) }} with {{ top_probability(1) | .1% }}. Press {key}`walk.step`.

```{set}
model: model5-trained
prompt: I prefer oat milk in
```

```{press} walk.step 2
```

```{claim}
It was foreseen:
generated == 2
surprisal_bits(5) < 1
entropy_bits > 50
```

## A task

```{task}
Cut the tail: keep at most 500 tokens.
check: 0 < top_k <= 500
hint: Press {key} often.
solution: knob.k_down*8
```

```{question}
What does top-k keep?
- [ ] the tokens after the k-th
- [x] the k likeliest tokens
why: The others cannot be drawn.
```

## Two rungs

```{difference} model2-trained model3-trained
```
"""
SECOND = "---\ntitle: The second\n---\n\n## End\n\n```{set}\nprompt: oat milk\n```\n\nDone.\n"
PROMPT_TASK = """---
title: Less
---

## Less

```{set}
prompt: I prefer oat milk
panel: tokens
```

```{task}
Write less.
check: tokens < 3
solution: walk.write ctrl+u "I" enter
```

The tokens are {{ tokens }} now.
"""


@pytest.fixture
def course(tmp_path: Path) -> CourseSource:
    folder = tmp_path / "lessons"
    folder.mkdir()
    (folder / "01-first.md").write_text(FIRST)
    (folder / "02-second.md").write_text(SECOND)
    return CourseSource(folder, progress=tmp_path / "state" / "course.json")


async def shown(pilot: Pilot[None]) -> str:
    """The text of the lesson's panel, without its line ends."""
    await settle(pilot)
    return " ".join(" ".join(strip.text for strip in pilot.app.walk.lesson._strips).split())


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_a_step(snap_compare: Callable[..., bool], real: Make, course: CourseSource, size: tuple[int, int]) -> None:
    async def go(pilot: Pilot[None]) -> None:
        await settle(pilot)
        for key in ("L", "enter", "space", "space"):
            pilot.app.simulate_key(key)
            await delivered(pilot)
            await settle(pilot)

    app = real("oat milk", TRAINED, course=course)
    assert snap_compare(app, run_before=go, terminal_size=size)


async def test_a_lesson_is_played_and_the_own_walk_comes_back(real: Make, press: Go, course: CourseSource) -> None:
    async with real("oat milk", TRAINED, course=course).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await press(pilot, "space", "space")
        await press(pilot, "full_stop")
        own, lens = app.frame.snapshot.tokens, app.walk.lens
        await press(pilot, "L")
        assert isinstance(app.screen, Contents)
        await press(pilot, "enter")
        assert app.frame.snapshot.prompt == "I prefer oat milk in"
        assert app.walk.lens is app.walk.candidates
        assert 'The next token is " my" with 99.' in await shown(pilot)
        assert "· generated == 2" in await shown(pilot)  # not measured before the waits are done
        await press(pilot, "space", "space")
        text = await shown(pilot)
        assert "✓ generated == 2" in text and "✗ entropy_bits > 50" in text and "2/2" in text

        await press(pilot, "O")
        await press(pilot, "1")  # a question in view need not wait for the task above it
        assert len(app.frame.snapshot.tokens) == 7
        assert "✗ the tokens after the k-th not this one" in await shown(pilot)
        await press(pilot, "pagedown")
        assert "A task" in await shown(pilot) and "still open" in [each.message for each in app._notifications][-1]
        await press(pilot, "R")
        assert "↳ Press" in await shown(pilot)
        await press(pilot, *["less_than_sign"] * 8)
        assert "✓ Cut the tail" in await shown(pilot)
        await press(pilot, "2")
        assert len(app.frame.snapshot.tokens) == 7
        assert "The others cannot be drawn." in await shown(pilot)

        await press(pilot, "pagedown")
        text = await shown(pilot)
        assert "config = replace(config, blocks=1)" in text and "blocks 0 → 1" in text and "KL(A‖B)" in text

        await press(pilot, "L")
        assert app.frame.snapshot.tokens == own
        assert app.walk.lens is lens and app.sampler == app.frame.snapshot.sampler
        assert not app.walk.lesson.display
        await press(pilot, "L", "enter")
        assert app.frame.snapshot.prompt == "I prefer oat milk in"
        assert "Two rungs" in await shown(pilot)


async def test_an_answer_is_given_by_a_click(real: Make, press: Go, course: CourseSource) -> None:
    async with real("oat milk", TRAINED, course=course).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await press(pilot, "L", "enter", "O", *["less_than_sign"] * 8)
        panel = app.walk.lesson
        line = next(number for number, line in enumerate(panel._lines) if line.answer == 1)
        await pilot.click(panel, offset=(6, line + 1))
        assert "The others cannot be drawn." in await shown(pilot)


async def test_progress_survives_and_a_damaged_file_is_one_line(
    real: Make, press: Go, course: CourseSource, screen_lines: Lines
) -> None:
    async with real("oat milk", TRAINED, course=course).run_test(size=(120, 36)) as pilot:
        await press(pilot, "L", "enter", "space", "space", "O")
    async with real("oat milk", TRAINED, course=course).run_test(size=(120, 36)) as pilot:
        await press(pilot, "L")
        assert "1/3" in "\n".join(screen_lines(pilot.app))
        await press(pilot, "enter")
        assert "A task" in await shown(pilot)
        assert pilot.app.frame.snapshot.prompt == "I prefer oat milk in"  # the state that the step before set
    course.progress.write_text("{")
    async with real("oat milk", TRAINED, course=course).run_test(size=(120, 36)) as pilot:
        await press(pilot, "L")
        assert [each.message for each in pilot.app._notifications][-1].endswith("so the course starts anew")


async def test_a_step_whose_task_is_not_done_can_be_left(real: Make, press: Go, course: CourseSource) -> None:
    async with real("oat milk", TRAINED, course=course).run_test(size=(100, 30)) as pilot:
        await press(pilot, "L", "enter", "O", "O", "O")
        assert "Done." in await shown(pilot)
        assert pilot.app.frame.snapshot.prompt == "oat milk"
        await press(pilot, "B")
        assert "Two rungs" in await shown(pilot)


async def test_a_page_does_not_turn_to_another_lesson(real: Make, press: Go, course: CourseSource) -> None:
    """It says which key does, as a person who reads on may not want to leave the walk of the lesson."""
    async with real("oat milk", TRAINED, course=course).run_test(size=(100, 30)) as pilot:
        app = pilot.app
        await press(pilot, "L", "enter")
        for key, said in (
            ("pageup", "this is the first step of the course"),
            ("O", None),
            ("O", None),
            ("pagedown", "the lesson ends here; O opens the next one: The second"),
        ):
            app.clear_notifications()
            await press(pilot, key)
            while said and not app._notifications:  # the step is longer than the panel
                await press(pilot, key)
            assert not said or [each.message.split(" ×")[0] for each in app._notifications] == [said]
        assert "Two rungs" in await shown(pilot)
        app.clear_notifications()
        await press(pilot, "O", "pageup")
        (note,) = app._notifications
        assert note.message == "the lesson begins here; B opens the end of the one before: A first look"
        assert "Done." in await shown(pilot)


async def test_an_answered_question_stays_answered_when_its_step_is_shown_again(
    real: Make, press: Go, course: CourseSource
) -> None:
    """Until the lesson is begun anew."""
    async with real("oat milk", TRAINED, course=course).run_test(size=(120, 36)) as pilot:
        await press(pilot, "L", "enter", "O", "2")
        assert "The others cannot be drawn." in await shown(pilot)
        await press(pilot, "B", "O")
        text = await shown(pilot)
        assert "✓ the k likeliest tokens" in text and "The others cannot be drawn." in text
        await press(pilot, "O", "B")
        assert "The others cannot be drawn." in await shown(pilot)
        player = pilot.app.walk.lessons.player
        await press(pilot, "B")
        player.place(player.lesson)
        await press(pilot, "O")
        assert "The others cannot be drawn." not in await shown(pilot)


async def test_a_title_without_room_in_the_border_stands_over_the_step(
    real: Make, press: Go, course: CourseSource
) -> None:
    path = course.folder / "01-first.md"
    path.write_text(FIRST.replace("A first look", "A first look that is quite long"))
    async with real("oat milk", TRAINED, course=course).run_test(size=(100, 30)) as pilot:
        panel = pilot.app.walk.lesson
        await press(pilot, "L", "enter")
        assert str(panel.border_title) == "lesson 1/2"
        assert (await shown(pilot)).startswith("A first look that is quite long One token The next")
        await pilot.resize_terminal(140, 40)
        await pilot.pause()
        assert str(panel.border_title) == "1/2 · A first look that is quite long"
        assert (await shown(pilot)).startswith("One token The next")


async def test_a_task_is_not_done_while_the_prompt_is_written(real: Make, press: Go, tmp_path: Path) -> None:
    folder = tmp_path / "lessons"
    folder.mkdir()
    (folder / "01-first.md").write_text(PROMPT_TASK)
    async with real("oat milk", TRAINED, course=CourseSource(folder)).run_test(size=(100, 30)) as pilot:
        app = pilot.app
        await press(pilot, "L", "enter")
        await press(pilot, "i", "ctrl+u", "I")
        assert "tokens < 3 1" in await shown(pilot) and "▸ Write less" in await shown(pilot)
        assert "now" not in await shown(pilot)  # behind the open task
        assert app.walk.tokens.has_class("-active")
        await press(pilot, "enter")
        assert "✓ Write less" in await shown(pilot) and "1 now" in await shown(pilot)
        assert app.walk.focused is app.walk.tokens
        await press(pilot, "space")
        assert "2 now" in await shown(pilot)

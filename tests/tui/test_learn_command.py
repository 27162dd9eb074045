"""`tokenwalk learn`: what `--check` prints, and its exit codes."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import forked_python
import pytest

from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp
from tui.commands import learn
from tui.commands.lesson_check import LessonCheck, run_cell
from tui.course.library import course
from tui.walk.course import CourseSource

Here = Callable[..., subprocess.CompletedProcess[bytes]]
LESSON = """---
title: Wrong
---

## Look

```{set}
model: model5-trained
prompt: I prefer oat milk in
```

```{claim}
rank(" my") == 1
entropy_bits > 50
```

```{task}
Draw.
check: generated > 3
solution: walk.step*2
```

```python
a = 1
a + 1
```

```output
3
```
"""


def test_check_names_the_line_of_what_does_not_hold(tmp_path: Path) -> None:
    file = tmp_path / "01-wrong.md"
    file.write_text(LESSON)
    command = [sys.executable, "-m", "tui", "learn", str(tmp_path), "--check"]
    done = forked_python.run(command)
    assert done.returncode == 1, done.stderr
    assert done.stdout.decode().splitlines() == [
        f"{file}:14: entropy_bits > 50 does not hold: 0.01025",
        f"{file}:19: after the solution, generated > 3 does not hold: 2",
        f"{file}:17: the solution does not reach the task",
        f"{file}:29: the code prints '2', and the lesson says '3'",
    ]


def test_mistakes_of_the_linter_come_first(run_here: Here, tmp_path: Path) -> None:
    (tmp_path / "01-wrong.md").write_text("## A\n\n```{clam}\n```\n")
    done = run_here("learn", str(tmp_path))
    assert (done.returncode, done.stderr) == (2, b"")
    assert len(done.stdout.splitlines()) == 2


def test_a_lesson_that_there_is_not_is_one_line(run_here: Here, tmp_path: Path) -> None:
    for argument, said in (("99", b"choose from 1, 2"), (str(tmp_path / "none"), b"there is no folder")):
        done = run_here("learn", argument)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
        assert said in done.stderr


async def test_a_step_of_the_model_ends_before_the_check_does(tmp_path: Path) -> None:
    (tmp_path / "01-short.md").write_text("---\ntitle: Short\n---\n\n## End\n\nText.\n")
    app = TokenwalkApp(ModelChoice(name="model1", device="cpu"), course=CourseSource(tmp_path, "en"))
    begun, ended = threading.Event(), threading.Event()

    def compute(_session: object) -> None:
        begun.set()
        time.sleep(0.5)  # longer than the app waits as it closes
        ended.set()

    def done(*_told: object) -> None:
        app.runner.submit(compute)
        begun.wait()

    await LessonCheck(app).play(course(tmp_path, "en").lessons, done)
    assert ended.is_set()


def test_a_cell_prints_its_last_value_as_a_notebook_does() -> None:
    names: dict[str, object] = {}
    assert run_cell("x = 2\nprint(x)\nx + 1\n", names, "cell") == ("2\n3\n", None)
    assert run_cell("x", names, "cell") == ("2\n", None)
    assert run_cell("y = 1\n\ny / 0\n", names, "cell") == ("", (3, "ZeroDivisionError: division by zero"))


def test_a_theme_for_the_course(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As for the app, whose settings it takes the place of."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    opened: list[TokenwalkApp] = []
    monkeypatch.setattr(learn, "check_terminal", lambda _: None)
    monkeypatch.setattr(learn, "run", lambda app, lines: opened.append(app))
    for theme in ("tokenwalk-projector", None):
        learn._open(None, 1, theme, plain=False)
    assert [app.theme for app in opened] == ["tokenwalk-projector", "tokenwalk-dark"]

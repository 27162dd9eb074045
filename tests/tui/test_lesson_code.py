"""A lesson's code by key and click: to the clipboard, as a notebook or a Python file; the panel in few columns."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from apps import settle

from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp
from tui.commands.lesson_check import run_cell
from tui.course.library import course
from tui.walk.course import CourseSource
from tui.walk.lesson_code import cells, notebook, write

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
TRAINED = ModelChoice(name="model5-trained", device="cpu")
LESSON = """---
title: A lesson whose title is far too long for the border of a panel
---

## First

```{set}
prompt: oat milk
```

```python
a = 2
```

```{task}
Draw.
check: generated > 1
solution: walk.step*2
```

## Second

```python
def twice(x):
    return 2 * x

twice(a)
```

```output
4
```
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CourseSource:
    folder = tmp_path / "lessons"
    folder.mkdir()
    (folder / "01-code.md").write_text(LESSON)
    (folder / "02-none.md").write_text("---\ntitle: None\n---\n\n## End\n\nText.\n")
    monkeypatch.chdir(tmp_path)
    return CourseSource(folder)


async def test_the_code_of_step_and_lesson_is_copied_or_written(
    real: Make, press: Go, source: CourseSource, tmp_path: Path
) -> None:
    async with real("oat milk", TRAINED, course=source).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await press(pilot, "L", "enter", "Y", "enter")
        assert app.clipboard == "a = 2\n"
        await press(pilot, "Y", "down", "enter")
        assert app.clipboard == "a = 2\n\ndef twice(x):\n    return 2 * x\n\ntwice(a)\n"
        await press(pilot, "Y", "down", "down", "enter", "Y", "down", "down", "down", "enter")
        assert sorted(each.name for each in tmp_path.glob("01-code.*")) == ["01-code.ipynb", "01-code.py"]
        assert "written to" in [each.message for each in app._notifications][-1]
        await press(pilot, "O")
        panel = app.walk.lesson
        row = next(number for number, line in enumerate(panel._lines) if "return" in line.text.plain)
        await pilot.click(panel, offset=(6, row + 1))
        await settle(pilot)
        assert app.clipboard == "def twice(x):\n    return 2 * x\n\ntwice(a)\n"
        await press(pilot, "O", "Y")
        assert [each.message for each in app._notifications][-1] == "this lesson has no code"


def test_cells_of_a_notebook_run_one_after_the_other_as_printed(source: CourseSource) -> None:
    lesson = course(source.folder).lessons[0]
    made = json.loads(notebook(lesson))
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 4)
    assert [cell["cell_type"] for cell in made["cells"]] == ["markdown", "markdown", "code", "markdown", "code"]
    names: dict[str, object] = {}
    printed = [run_cell(cell["source"], names, "cell") for cell in made["cells"] if cell["cell_type"] == "code"]
    assert printed == [("", None), ("4\n", None)]
    assert len(cells(lesson.steps)) == 2


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    paths = [write(tmp_path, "a.py", text) for text in ("1", "2", "3")]
    assert [(each.name, each.read_text()) for each in paths] == [("a.py", "1"), ("a-2.py", "2"), ("a-3.py", "3")]


async def test_in_few_columns_the_border_keeps_the_place_and_words_for_keys(
    real: Make, press: Go, source: CourseSource
) -> None:
    async with real("oat milk", TRAINED, course=source).run_test(size=(100, 30)) as pilot:
        panel = pilot.app.walk.lesson
        await press(pilot, "L", "enter")
        assert panel.outer_size.width == 36
        assert str(panel.border_title) == "lesson 1/2"
        assert panel._lines[0].text.plain.startswith("A lesson whose")
        assert str(panel.border_subtitle) == "O on · R hint · Y code"
        await press(pilot, "space", "space")
        assert str(panel.border_subtitle) == "1/2 · B back · O on · Y code"

"""The code of a lesson, to the clipboard or into a file: a notebook or a Python file, with its cells in their order."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.atomic import NEW_FILE
from core.errors import UserError
from core.language import _, ngettext
from tui.course.lesson import Code, Lesson, Step
from tui.dialogs.choose import ChooseScreen, Entry
from tui.drawing.text import printed
from tui.notices import Notices
from tui.walk.group import ActionGroup
from tui.walk.panels import PanelsScreen


class LessonCode(ActionGroup):
    """Gives a person the code of a lesson."""

    def offer(self, lesson: Lesson, step: Step) -> None:
        """Ask which code of a lesson is wanted, and where."""
        if not cells(lesson.steps):
            self.notices.inform(_("this lesson has no code"))
            return
        name = lesson.name
        entries = [
            Entry("lesson", _("the lesson"), _("Copy the code of all steps to the clipboard")),
            Entry(".ipynb", _("notebook"), _("Write it to {file} in this folder").format(file=f"{name}.ipynb")),
            Entry(".py", "Python", _("Write it to {file} in this folder").format(file=f"{name}.py")),
        ]
        if cells((step,)):
            entries.insert(0, Entry("step", _("this step"), _("Copy its code to the clipboard")))

        def take(chosen: str | None) -> None:
            if chosen in ("step", "lesson"):
                copy(self.screen, self.notices, "\n".join(cells((step,) if chosen == "step" else lesson.steps)))
            elif chosen is not None:
                content = notebook(lesson) if chosen == ".ipynb" else "\n\n".join(cells(lesson.steps))
                self._write(f"{name}{chosen}", content)

        self.open_dialog(ChooseScreen(_("code"), entries, ""), take)

    def _write(self, name: str, content: str) -> None:
        try:
            path = write(Path.cwd(), name, content)
        except UserError as error:
            self.notices.warn(error)
        else:
            self.notices.inform(_("written to {path}").format(path=path))


def copy(screen: PanelsScreen, notices: Notices, source: str) -> None:
    """Copy code to the clipboard, and say so."""
    screen.app.copy_to_clipboard(printed(source))
    count = source.count("\n")
    notices.inform(ngettext("copied {count} line of code", "copied {count} lines of code", count).format(count=count))


def cells(steps: Sequence[Step]) -> list[str]:
    """The Python blocks of steps as they are printed, each with a line end."""
    blocks = [block for step in steps for block in step.blocks if isinstance(block, Code)]
    return [printed(block.source.rstrip("\n")) + "\n" for block in blocks]


def notebook(lesson: Lesson) -> str:
    """The code of a lesson as a Jupyter notebook, format 4.4: the titles of its steps, and a cell for each block."""
    made = [_cell("markdown", f"# {lesson.title}")]
    for step in lesson.steps:
        if code := cells((step,)):
            made += [_cell("markdown", f"## {step.title}"), *(_cell("code", source) for source in code)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps({"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}, indent=1) + "\n"


def _cell(kind: str, source: str) -> dict[str, Any]:
    code: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": source.rstrip("\n"), **code}


def write(folder: Path, name: str, content: str) -> Path:
    """Write a new file, under another name where there is one already. Raises `UserError` where it cannot."""
    path = folder / name
    number = 1
    while True:
        try:
            with os.fdopen(os.open(path, NEW_FILE, 0o644), "w", encoding="utf-8") as file:
                file.write(content)
        except FileExistsError:
            number += 1
            path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
        except OSError as error:
            words = _("{path} cannot be written: {reason}; start in another folder")
            raise UserError(words, path=path, reason=error.strerror) from error
        else:
            return path

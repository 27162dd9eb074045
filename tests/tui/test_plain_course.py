"""`tokenwalk learn --plain`: the steps of lessons in words, with what is measured, tasks, hints and answers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from plain_lines import drawn, said_by, spoken_labels  # noqa: F401  # a fixture of every test here

from core.loading.choice import ModelChoice
from tui.course import library
from tui.course.player import Player
from tui.course.progress import Progress
from tui.plain.lesson import lesson_lines
from tui.plain.spoken_app import Spoken, SpokenWalk
from tui.settings import Settings
from tui.walk.course import CourseSource


@pytest.mark.parametrize("language", ["en", "vi"])
def test_no_lesson_has_a_sign_that_is_not_said(language: str) -> None:
    """Every step of every lesson, as it is before anything is measured."""
    course = library.course(None, language)
    player = Player(course, Progress(None, course.name))
    lessons = SimpleNamespace(player=player, problem=None)
    app: Any = SimpleNamespace(walk=SimpleNamespace(lessons=lessons), settings=Settings(), spell=str)
    for lesson in course.lessons:
        for at in range(len(lesson.steps)):
            player.open(lesson, at)
            lines = list(lesson_lines(cast(Spoken, app)))
            assert len(lines) > 1
            assert drawn(lines) == set(), (lesson.name, at)


def test_a_lesson_is_taken_in_words(tmp_path: Path) -> None:
    """The list, a lesson, the next step, a hint, and the way back to the own walk."""
    app = SpokenWalk(
        ModelChoice(tokenizer="bytes"),
        settings=Settings(fps=60),
        sessions=tmp_path / "walks",
        course=CourseSource(language="en", at_start=True),
    )
    lines = said_by(app, "1", "O", "f7", "B", "L", "status")
    steps = len(library.course(None, "en").lessons[0].steps)
    titles = [line.split(",")[0] + line[line.rindex(", step") :] for line in lines if line.startswith("lesson 1, ")]
    assert titles == [f"lesson 1, step {at} of {steps}" for at in (1, 2, 2, 1)]
    assert any(line.startswith("1  From text to text") for line in lines)  # the list, with its numbers
    assert not any("not measured yet" in line for line in lines)
    assert any(line.startswith("model model1 ") for line in lines[-4:])
    assert drawn(lines) == set()

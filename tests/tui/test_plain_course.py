"""`tokenwalk learn --plain`: the steps of lessons in words, with what is measured, tasks, hints and answers."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from plain_lines import drawn, said_by, spoken_labels  # noqa: F401  # a fixture of every test here

from core import language as catalogue
from core.loading.choice import ModelChoice
from tui.course import library
from tui.course.player import Player
from tui.course.progress import Progress
from tui.plain.lesson import lesson_lines
from tui.plain.spoken_app import Spoken, SpokenWalk
from tui.settings import Settings
from tui.walk.course import CourseSource


def read(language: str) -> list[str]:
    """Every step of every lesson in words."""
    course = library.course(None, language)
    player = Player(course, Progress(None, course.name))
    lessons = SimpleNamespace(player=player, problem=None)
    app: Any = SimpleNamespace(walk=SimpleNamespace(lessons=lessons), settings=Settings(), spell=str)
    lines = []
    for lesson in course.lessons:
        for at in range(len(lesson.steps)):
            player.open(lesson, at)
            step = list(lesson_lines(cast(Spoken, app)))
            assert len(step) > 1
            lines += step
    return lines


@pytest.mark.parametrize("language", ["en", "vi"])
def test_no_lesson_has_a_sign_that_is_not_said(language: str) -> None:
    """Every step of every lesson, as it is before anything is measured."""
    assert drawn(read(language)) == set()


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


@pytest.mark.parametrize(
    ("language", "times", "dot"),
    [
        ("en", "5 times 8 times 100,277 =", "The dot is a space."),
        ("vi", "5 nhân 8 nhân 100,277 =", "Dấu chấm là dấu cách."),
    ],
)
def test_a_dot_between_factors_is_said(language: str, times: str, dot: str) -> None:
    """Elsewhere it separates, or is the sign of a blank."""
    catalogue.speak(language)
    text = "\n".join(read(language))
    assert times in text
    assert dot in text


def test_values_and_keys_beside_a_condition_are_named(tmp_path: Path) -> None:
    app = SpokenWalk(
        ModelChoice(tokenizer="bytes"),
        settings=Settings(fps=60),
        sessions=tmp_path / "walks",
        course=CourseSource(language="en", lesson=1, at_start=True),
    )
    lines = said_by(app, "O", "O", "O", "O", "O", " ")
    assert "holds: tokens == 5, now 5" in lines
    assert 'shown_row == "ids", now "text"' in lines
    assert any(line.startswith("done: Draw one token") and line.endswith(", space") for line in lines)
    assert "generated >= 5, now 1" in lines
    pair = 'holds: norm("activation") < norm("embedding"), now '
    assert any(re.fullmatch(re.escape(pair) + r"[\d.]+, [\d.]+", line) for line in lines)

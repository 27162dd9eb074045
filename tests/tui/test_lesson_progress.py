"""How far a person has come: kept in a file, and a damaged file costs nothing but the progress."""

import json
from pathlib import Path

import pytest

from core.errors import UserError
from tui.course.progress import Progress


def test_progress_is_kept_for_each_course(tmp_path: Path) -> None:
    file = tmp_path / "state" / "course.json"
    ours, theirs = Progress(file), Progress(file, "/lessons")
    ours.lesson = "02-b"
    ours.of("01-a").done |= {0, 1}
    ours.of("02-b").step = 3
    ours.save()
    theirs.lesson = "01-x"
    theirs.save()
    again = Progress(file)
    assert (again.problem, again.lesson, again.of("01-a").done, again.of("02-b").step) == ("", "02-b", {0, 1}, 3)
    assert Progress(file, "/lessons").lesson == "01-x"
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": 2}', '{"version": 1, "courses": {"": {"lessons": 3}}}']
)
def test_a_damaged_file_is_one_line_and_the_course_starts_anew(tmp_path: Path, content: str) -> None:
    file = tmp_path / "course.json"
    file.write_text(content)
    progress = Progress(file)
    assert "course.json" in progress.problem and "\n" not in progress.problem
    assert (progress.lesson, progress.of("01-a").done) == ("", set())
    progress.lesson = "01-a"
    progress.save()
    assert json.loads(file.read_text())["courses"][""]["lesson"] == "01-a"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    progress = Progress(tmp_path / "state" / "course.json")
    progress.lesson = "01-a"
    with pytest.raises(UserError, match="state"):
        progress.save()

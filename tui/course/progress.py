"""How far a person has come in each course, in a file of the system's state folder."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from core import atomic
from core.errors import UserError
from core.language import _

VERSION = 1
LARGEST = 1_000_000
"""Bytes of the file at most."""


def default_file() -> Path:
    """Where progress is kept."""
    return platformdirs.user_state_path("tokenwalk") / "course.json"


@dataclass(slots=True)
class LessonProgress:
    """How far a lesson is."""

    step: int = 0
    """The step that was shown last, from 0."""
    done: set[int] = field(default_factory=set)
    """The steps whose tasks, waits and questions are done."""
    walk: bool = False
    """Whether the walk of that step is in the lesson's file."""
    lens: str = ""
    """The lens that was shown last."""
    state: dict[str, Any] = field(default_factory=dict)
    """What was done in that step, as `StepState.values` has it."""

    def values(self) -> dict[str, Any]:
        """The progress as JSON has it."""
        kept = {"walk": True, "lens": self.lens, "state": self.state} if self.walk else {}
        return {"step": self.step, "done": sorted(self.done), **kept}


class Progress:
    """The progress of one course. Without a file it is kept until the app ends."""

    def __init__(self, file: Path | None = None, course: str = "") -> None:
        self._file, self._course = file, course
        self.lesson = ""
        """The name of the lesson that was open last; empty for none."""
        self._lessons: dict[str, LessonProgress] = {}
        self.problem = self._read() if file else ""
        """Why an earlier progress could not be read; empty where it could."""

    def of(self, lesson: str) -> LessonProgress:
        """The progress of a lesson."""
        return self._lessons.setdefault(lesson, LessonProgress())

    def walk_file(self, lesson: str) -> Path | None:
        """Where the walk of a lesson is kept; None where the progress is not."""
        if self._file is None:
            return None
        course = hashlib.sha256(self._course.encode()).hexdigest()[:16] if self._course else "tokenwalk"
        return self._file.parent / "course" / course / f"{lesson}.json"

    def save(self) -> None:
        """Write the file. Raises `UserError` where it cannot be written."""
        if self._file is None:
            return
        courses = _courses(self._file)
        known = {name: each for name, each in self._lessons.items() if each.done or each.walk or name == self.lesson}
        lessons = {name: each.values() for name, each in known.items()}
        courses[self._course] = {"lesson": self.lesson, "lessons": lessons}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = _("{folder} cannot be made: {reason}").format(folder=self._file.parent, reason=error.strerror)
            raise UserError(problem) from error
        with atomic.replacing(self._file, private=True) as file:
            file.write(json.dumps({"version": VERSION, "courses": courses}, indent=1).encode())

    def _read(self) -> str:
        """Read the file; one line where it is damaged, and then everything starts anew."""
        assert self._file is not None
        try:
            mine = _courses(self._file, strict=True).get(self._course, {})
            self.lesson = str(mine.get("lesson", ""))
            for name, each in mine.get("lessons", {}).items():
                self._lessons[str(name)] = LessonProgress(
                    max(0, int(each["step"])),
                    {int(n) for n in each["done"]},
                    each.get("walk") is True,
                    str(each.get("lens", "")),
                    dict(each.get("state", {})),
                )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self.lesson, self._lessons = "", {}
            return _("the progress in {file} is damaged, so the course starts anew").format(file=self._file)
        except OSError as error:
            return _("the progress in {file} cannot be read: {reason}").format(file=self._file, reason=error.strerror)
        return ""


def _courses(file: Path, *, strict: bool = False) -> dict[str, Any]:
    """What the file says of each course. Where not `strict`, a damaged one says nothing."""
    try:
        if not file.exists():
            return {}
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
        value = json.loads(content) if len(content) <= LARGEST else None
        if not isinstance(value, dict) or value.get("version") != VERSION or not isinstance(value.get("courses"), dict):
            raise ValueError
        courses: dict[str, Any] = value["courses"]
    except (OSError, ValueError, RecursionError):
        if strict:
            raise
        return {}
    return courses

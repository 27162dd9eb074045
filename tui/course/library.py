"""Where lessons are: those that come with tokenwalk, and folders of teachers. A language falls back to English."""

from dataclasses import dataclass
from pathlib import Path

from core.bounded import is_folder
from core.errors import UserError
from core.language import _
from tui.course import lint, parse
from tui.course.lesson import Lesson, Mistake

BUNDLED = Path(__file__).with_name("lessons")
ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Course:
    """Lessons in their order, in one language as far as they are translated."""

    folder: Path
    lessons: tuple[Lesson, ...]
    mistakes: tuple[Mistake, ...]
    """What is wrong in the files; those of the English lessons are found with the English course."""

    @property
    def name(self) -> str:
        """What its progress is kept under."""
        return "" if self.folder == BUNDLED else str(self.folder.resolve())


def course(folder: Path | None = None, language: str = ENGLISH) -> Course:
    """The lessons of a folder, or those that come with tokenwalk; `folder/LANGUAGE` where there is one.

    Raises `UserError` where there is no lesson.
    """
    folder = folder or BUNDLED
    if not is_folder(folder):
        raise UserError(_("there is no folder {folder}; a course is a folder of Markdown files").format(folder=folder))
    if not (folder / ENGLISH).is_dir():
        lessons = lint.read_all(folder / language if (folder / language).is_dir() else folder)
        return Course(folder, tuple(lessons), tuple(lint.lint(lessons)))
    original = lint.read_all(folder / ENGLISH)
    if language == ENGLISH or not (folder / language).is_dir():
        return Course(folder, tuple(original), tuple(lint.lint(original)))
    translated = [parse.read(file) for file in parse.listed(folder / language)]
    by_name = {lesson.name: lesson for lesson in translated}
    mistakes = lint.lint(translated)
    for lesson in translated:
        meant = next((each for each in original if each.name == lesson.name), None)
        if meant is None:
            mistakes.append(Mistake(lesson.file, 1, _("there is no English lesson {name}").format(name=lesson.name)))
        else:
            mistakes += lint.compare(lesson, meant)
    mistakes.sort(key=lambda each: (str(each.file), each.line))
    return Course(folder, tuple(by_name.get(each.name, each) for each in original), tuple(mistakes))


def mistakes(folder: Path | None = None) -> list[Mistake]:
    """What is wrong in a folder, in all its languages. Raises `UserError` where there is no lesson."""
    folder = folder or BUNDLED
    languages = [each.name for each in sorted(folder.iterdir()) if any(each.glob("*.md"))] if folder.is_dir() else []
    own = ENGLISH if (folder / ENGLISH).is_dir() else ""
    translated = [language for language in languages if own and language != ENGLISH]
    found = [mistake for language in (ENGLISH, *translated) for mistake in course(folder, language).mistakes]
    return list(dict.fromkeys(found))

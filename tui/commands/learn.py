"""`tokenwalk learn`: the course, in the app or checked without a screen."""

from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import UserError
from core.language import N_, _, ngettext
from tui.commands.common import exit_on_user_error, note, say
from tui.commands.walk import Plain, Theme, check_terminal, in_lines, run


def learn(
    lesson: Annotated[
        str, typer.Argument(metavar="[N|FOLDER]", help=N_("The number of a lesson, or a folder of lessons."))
    ] = "",
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help=N_("Play the lessons without a screen, and run their Python: 1 where something does not hold."),
        ),
    ] = False,
    theme: Theme = None,
    plain: Plain = None,
) -> None:
    """Open the course, in which lessons are played on the live app."""
    with exit_on_user_error():
        from core import language
        from tui.course import library

        number = int(lesson) if lesson.isdecimal() else None
        folder = None if number is not None or not lesson else Path(lesson)
        found = library.course(folder, language.spoken())
        numbers = [each.number for each in found.lessons]
        if number is not None and number not in numbers:
            words = _("there is no lesson {number}; choose from {numbers}")
            raise UserError(words.format(number=number, numbers=", ".join(map(str, numbers))))
        if mistakes := library.mistakes(folder):
            for mistake in mistakes:
                say(str(mistake))
            raise typer.Exit(2)
        if check:
            _check(found, number)
        else:
            _open(folder, number, theme, plain)


def _open(folder: Path | None, number: int | None, theme: str | None, plain: bool | None) -> None:
    from dataclasses import replace

    from core import language
    from tui import settings as app_settings
    from tui.commands.opening import DEFAULT_MODEL
    from tui.course import progress

    settings, problems = app_settings.load()
    settings = replace(settings, theme=theme or settings.theme)
    lines = in_lines(plain, settings)
    if not lines:
        check_terminal("--plain, or tokenwalk learn --check")
    from core.engine import threads
    from core.loading.choice import ModelChoice
    from core.sessions import storage

    threads.prepare()
    from tui.walk.course import CourseSource

    if lines:
        from tui.plain.spoken_app import SpokenWalk as App
    else:
        from tui.app import TokenwalkApp as App  # type: ignore[assignment]

    source = CourseSource(folder, language.spoken(), progress.default_file(), number, at_start=True)
    choice, sessions = ModelChoice(name=DEFAULT_MODEL), storage.default_folder()
    app = App(choice, settings=settings, problems=problems, sessions=sessions, course=source)
    run(app, lines=lines)


def _check(course: Any, number: int | None) -> None:
    """Play the lessons; exit code 1 with a line for each thing that does not hold."""
    from tui.commands import lesson_workers

    lessons = [each for each in course.lessons if number in (None, each.number)]
    found = dict[Path, Any]()

    def done(lesson: Any, seconds: float, mistakes: Any) -> None:
        note(f"{lesson.file.name}: {seconds:.1f} s")
        found[lesson.file] = mistakes

    lesson_workers.play(course.folder, lessons, done)
    wrong = [mistake for lesson in lessons for mistake in found[lesson.file]]
    for mistake in wrong:
        say(str(mistake))
    if wrong:
        raise typer.Exit(1)
    say(ngettext("{count} lesson holds", "{count} lessons hold", len(lessons)).format(count=len(lessons)))

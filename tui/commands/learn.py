"""`tokenwalk learn`: the course, in the app or checked without it."""

from pathlib import Path
from typing import Annotated

import typer

from core.errors import Option, UserError
from tui.commands.common import exit_on_user_error, say


def learn(
    lesson: Annotated[
        str, typer.Argument(metavar="[N|FOLDER]", help="The number of a lesson, or a folder of lessons.")
    ] = "",
    lang: Annotated[str | None, typer.Option("--lang", help="The language of the lessons: en or vi.")] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Play the lessons without a screen, and run their Python: exit code 1 where something does not hold.",
        ),
    ] = False,
) -> None:
    """Open the course, in which lessons are played on the live app."""
    with exit_on_user_error():
        from tui.course import library

        language = lang or library.ENGLISH
        folder = None if not lesson or lesson.isdecimal() else Path(lesson)
        found = library.course(folder, language)
        if lesson.isdecimal() and int(lesson) not in [each.number for each in found.lessons]:
            numbers = ", ".join(str(each.number) for each in found.lessons)
            raise UserError(f"there is no lesson {lesson}; choose from {numbers}")
        if found.mistakes:
            for mistake in found.mistakes:
                say(str(mistake))
            raise typer.Exit(2)
        if not check:
            raise UserError("lessons cannot be opened yet; give ", Option("check"))
        say(f"{len(found.lessons)} lessons are well formed")

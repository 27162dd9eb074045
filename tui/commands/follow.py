"""`tokenwalk follow`: look at a walk while somebody else walks."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.engine import threads
from tui.commands.common import exit_on_user_error
from tui.commands.walk import Plain, Theme, check_terminal, in_lines, run

if TYPE_CHECKING:
    from tui.sharing.feed import Feed


STARTING = 10
"""The niceness of a viewer until its first paint, which a busy machine would keep from the idle class for minutes."""
ADDRESS = "TOKENWALK_FOLLOW"
"""The variable by which `tokenwalk serve` tells its pages the address; arguments are seen by all users."""


def follow(
    walk: Annotated[
        str,
        typer.Argument(
            help="The address that the app with --share has said, or a session file; else the last one.",
            envvar=ADDRESS,
            show_envvar=False,
        ),
    ] = "",
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model to load here on request, in place of the walk's own.")
    ] = None,
    fps: Annotated[int | None, typer.Option(help="The most frames per second to draw.", min=1, max=60)] = None,
    theme: Theme = None,
    plain: Plain = None,
) -> None:
    """Show a walk that is shared on this machine, live and read-only; or a session file while it grows."""
    with exit_on_user_error():
        from dataclasses import replace

        from core.loading import catalog
        from core.loading.choice import ModelChoice
        from tui import settings as app_settings

        choice = ModelChoice(name=model) if model else None
        if choice:
            catalog.check(choice)
        feed = feed_of(walk)
        settings, problems = app_settings.load()
        lines = in_lines(plain, settings)
        if not lines:
            check_terminal("--plain, or tokenwalk export")
        settings = replace(settings, fps=fps or settings.fps, theme=theme or settings.theme)
    if hasattr(os, "nice"):
        os.nice(STARTING)
    threads.prepare()
    if lines:
        from tui.plain.spoken_app import SpokenFollow as App
    else:
        from tui.following.app import FollowApp as App  # type: ignore[assignment]
    app = App(feed, choice, settings, problems)
    app.when_painted = _stand_back
    run(app, lines=lines)


def _stand_back() -> None:
    """Let the teacher's app on the same machine come first, at once: many viewers draw each state at the same time."""
    with suppress(OSError):
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        elif hasattr(os, "nice"):
            os.nice(19)


def feed_of(walk: str) -> "Feed":
    """What an argument names: an address, a session file, or where it is empty the walk that was shared last.

    Raises `UserError` for what is none.
    """
    from core.sessions import reader
    from tui.sharing import address as addresses
    from tui.sharing.feed import FileFeed, SharedFeed

    address = addresses.parse(walk)
    if address or not walk:
        return SharedFeed(address)
    reader.read_record(Path(walk))
    return FileFeed(Path(walk).absolute())

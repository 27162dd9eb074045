"""`tokenwalk [PROMPT]`: open the app."""

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from core.engine import threads
from core.errors import UserError
from core.language import _
from tui import terminal
from tui.commands.common import Prompt, exit_on_user_error, note_saved
from tui.commands.opening import opening
from tui.options import ModelOptions, SamplerOptions, shared
from tui.serve import DRIVER

if TYPE_CHECKING:
    from tui.settings import Settings

INSTEAD = "--plain, or tokenwalk generate, next or tokens"
"""The commands that need no terminal."""
CLOSING_SECONDS = 2.0
"""How long to wait, after the terminal is restored, for a running step to end and the walk to be saved."""

Plain = Annotated[
    bool | None,
    typer.Option(
        "--plain/--no-plain",
        help="Lines of text in place of panels, for screen readers, dumb terminals and pipes; ? lists its keys.",
    ),
]
Theme = Annotated[
    str | None,
    typer.Option(help="tokenwalk-dark, tokenwalk-light, tokenwalk-projector, or the name of a Textual theme."),
]


@shared
def walk(
    model: ModelOptions,
    sampler: SamplerOptions,
    prompt: Prompt = "",
    count: Annotated[
        int, typer.Option("-n", help="How many tokens one press of the run key (g) generates.", min=1)
    ] = 30,
    fps: Annotated[int | None, typer.Option(help="The most frames per second to draw.", min=1, max=60)] = None,
    theme: Theme = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the last saved session, or the session file given as PROMPT.")
    ] = False,
    plain: Plain = None,
    share: Annotated[
        bool, typer.Option("--share", help="Let others on this machine follow the walk, by tokenwalk follow.")
    ] = False,
) -> None:
    """Open the app with a prompt. `tokenwalk PROMPT` is short for `tokenwalk walk PROMPT`."""
    with exit_on_user_error():
        from dataclasses import replace

        from core.sessions import storage
        from tui import settings as app_settings

        first = opening(model, sampler, prompt, resume=resume)
        if prompt == "-":
            _read_keys_from_terminal()
        settings, problems = app_settings.load()
        settings = replace(settings, fps=fps or settings.fps, theme=theme or settings.theme)
        lines = in_lines(plain, settings)
        if not lines:
            check_terminal(INSTEAD)
        server = None
        if share:
            from tui.sharing.server import Server

            server = Server()
    threads.prepare()
    from core.walk.values import PromptForm
    from tui.course import progress
    from tui.walk.course import CourseSource

    if lines:
        from tui.plain.spoken_app import SpokenWalk as App
    else:
        from tui.app import TokenwalkApp as App  # type: ignore[assignment]
    app: Any = App(
        first.choice,
        first.sampler,
        first.text,
        settings=settings,
        count=count,
        form=PromptForm(model.special, model.chat, model.system),
        patches=first.patches,
        problems=problems,
        resume=first.saved,
        sessions=storage.default_folder(),
        server=server,
        course=CourseSource(progress=progress.default_file()),
    )
    run(app, lines=lines)


def check_terminal(instead: str) -> None:
    """Raise `UserError` where the app cannot be shown; `instead` names commands that need no terminal."""
    if in_browser():
        return
    if not (sys.stdin.isatty() and terminal.drawn_on()):
        raise UserError(_("the app needs a terminal; without one use {instead}"), instead=instead)
    if os.environ.get("TERM") == "dumb":
        raise UserError(
            _("the app needs a terminal that can move its cursor, and TERM is 'dumb'; use {instead}"), instead=instead
        )


def in_lines(plain: bool | None, settings: "Settings") -> bool:
    """Whether the app is run in lines of text: as the option says, or the settings; never in a browser."""
    return not in_browser() and (settings.plain if plain is None else plain)


def in_browser() -> bool:
    """Whether a browser is the terminal."""
    return os.environ.get("TEXTUAL_DRIVER") == DRIVER


def run(app: Any, *, lines: bool = False) -> NoReturn:
    """Run the app, on a screen or in lines, and end the program with it."""
    if lines:
        from tui.commands.plain import run_in_lines

        run_in_lines(app)
    app.when_restored = lambda: _end_while_loading(app)
    app.run()
    app.runner.close(CLOSING_SECONDS if app.state.frame.snapshot else 0)
    app.autosave.close(CLOSING_SECONDS)
    if not (app.return_code or in_browser()):  # the terminal may be gone
        note_saved(app)
    _end(app)


def _end_while_loading(app: Any) -> None:
    """End where the first model is being loaded: there is nothing to save, and each further step is slow meanwhile."""
    if app.runner.empty and not app.says_more:
        _end(app)


def _end(app: Any) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(app.return_code or 0)  # do not wait for a step that still computes, nor for torch's exit handlers


def _read_keys_from_terminal() -> None:
    """Make the terminal standard input, after the prompt was read from it."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        return
    os.dup2(terminal, 0)
    os.close(terminal)

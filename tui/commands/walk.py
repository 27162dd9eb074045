"""`tokenwalk [PROMPT]`: the app."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from core.engine import threads
from core.errors import UserError
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from tui.commands.common import Prompt, exit_on_user_error, read_argument
from tui.options import ModelOptions, SamplerOptions, shared

OPENS_ON = "model5-trained"
"""Where nobody asks for a model or for sizes of a rung: it speaks, and was never far away."""
LAST_STEP = 2.0
"""Seconds at most, after the terminal was given back, for a step to end and the walk to be written."""


@shared
def walk(
    model: ModelOptions,
    sampler: SamplerOptions,
    prompt: Prompt = "",
    count: Annotated[int, typer.Option("-n", help="Tokens that one press of g generates.", min=1)] = 30,
    fps: Annotated[int | None, typer.Option(help="Frames a second at most.", min=1, max=60)] = None,
    theme: Annotated[str | None, typer.Option(help="tokenwalk-dark, tokenwalk-light or a theme of Textual.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the last saved session, or with the file given as PROMPT.")
    ] = False,
) -> None:
    """Open the app; what `tokenwalk PROMPT` does."""
    with exit_on_user_error():
        from dataclasses import replace

        from core.loading import catalog
        from core.sessions import storage
        from tui import settings as own_settings

        choice, draws = model.choice(), sampler.sampler()
        saved, text = (_saved(prompt, choice, draws), "") if resume else (None, read_argument(prompt))
        if model.model is None and replace(choice, device="auto", dtype="auto") == ModelChoice():
            choice = replace(choice, name=OPENS_ON)
        catalog.check(choice)
        if prompt == "-":
            _take_terminal()
        if not (sys.stdin.isatty() and sys.stderr.isatty()):  # Textual reads the one and draws on the other
            raise UserError("the app needs a terminal; tokenwalk generate, next and tokens work without one")
        problems = []
        try:
            settings = own_settings.load()
        except UserError as mistake:
            settings, problems = own_settings.Settings(), [str(mistake)]
        settings = replace(settings, fps=fps or settings.fps, theme=theme or settings.theme)
    threads.prepare()
    from tui.app import TokenwalkApp

    playground = TokenwalkApp(
        choice,
        draws,
        text,
        settings=settings,
        count=count,
        special=model.special,
        chat=model.chat,
        problems=problems,
        resume=saved,
        sessions=storage.default_folder(),
    )
    playground.run()
    playground.runner.close(LAST_STEP if playground.frame.snapshot else 0)
    playground.keeper.close(LAST_STEP)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(playground.return_code or 0)  # neither a step that still computes nor torch's own end holds the terminal


def _saved(file: str, choice: ModelChoice, draws: Sampler) -> Path:
    """The session to resume. Raises `UserError` where it cannot be, before the screen is taken."""
    from core.sessions import reader, storage

    if choice != ModelChoice() or draws != Sampler():
        raise UserError("a session brings its own model and sampler; leave theirs away and change them in the app")
    path = Path(file) if file else storage.newest(storage.default_folder())
    reader.read_record(path)
    return path.absolute()


def _take_terminal() -> None:
    """Read keys from the terminal after a prompt came through standard input."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        return
    os.dup2(terminal, 0)
    os.close(terminal)

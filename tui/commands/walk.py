"""`tokenwalk [PROMPT]`: open the app."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from core.engine import threads
from core.errors import Option, UserError
from core.language import _
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from tui.commands.common import Prompt, exit_on_user_error, read_argument
from tui.options import ModelOptions, SamplerOptions, shared

DEFAULT_MODEL = "model5-trained"
"""The model where no option chooses one: it is trained and comes with tokenwalk."""
INSTEAD = "tokenwalk generate, next or tokens"
"""The commands that need no terminal."""
CLOSING_SECONDS = 2.0
"""How long to wait, after the terminal is restored, for a running step to end and the walk to be saved."""


@shared
def walk(
    model: ModelOptions,
    sampler: SamplerOptions,
    prompt: Prompt = "",
    count: Annotated[
        int, typer.Option("-n", help="How many tokens one press of the run key (g) generates.", min=1)
    ] = 30,
    fps: Annotated[int | None, typer.Option(help="The most frames per second to draw.", min=1, max=60)] = None,
    theme: Annotated[
        str | None, typer.Option(help="tokenwalk-dark, tokenwalk-light, or the name of a Textual theme.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the last saved session, or the session file given as PROMPT.")
    ] = False,
) -> None:
    """Open the app with a prompt. `tokenwalk PROMPT` is short for `tokenwalk walk PROMPT`."""
    with exit_on_user_error():
        from dataclasses import replace

        from core.loading import catalog
        from core.sessions import storage
        from tui import settings as app_settings

        choice, chosen_sampler, patches = model.choice(), sampler.sampler(), model.patches()
        if resume and patches:
            raise UserError(
                _("a session has its own steering vectors; leave out {steer} beside {resume}"),
                steer=Option("steer"),
                resume=Option("resume"),
            )
        saved, text = (_saved(prompt, choice, chosen_sampler), "") if resume else (None, read_argument(prompt))
        if model.model is None and replace(choice, device="auto", dtype="auto") == ModelChoice():
            choice = replace(choice, name=DEFAULT_MODEL)
        catalog.check(choice)
        if prompt == "-":
            _read_keys_from_terminal()
        check_terminal(INSTEAD)
        settings, problems = app_settings.load()
        settings = replace(settings, fps=fps or settings.fps, theme=theme or settings.theme)
    threads.prepare()
    from core.walk.values import PromptForm
    from tui.app import TokenwalkApp

    app = TokenwalkApp(
        choice,
        chosen_sampler,
        text,
        settings=settings,
        count=count,
        form=PromptForm(model.special, model.chat, model.system),
        patches=patches,
        problems=problems,
        resume=saved,
        sessions=storage.default_folder(),
    )
    run(app)


def check_terminal(instead: str) -> None:
    """Raise `UserError` where the app cannot be shown; `instead` names commands that need no terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):  # Textual reads keys from stdin and draws on stderr
        raise UserError(_("the app needs a terminal; without one use {instead}"), instead=instead)
    if os.environ.get("TERM") == "dumb":
        raise UserError(
            _("the app needs a terminal that can move its cursor, and TERM is 'dumb'; use {instead}"), instead=instead
        )


def run(app: Any) -> NoReturn:
    """Run the app, and end the program with it."""
    app.run()
    app.runner.close(CLOSING_SECONDS if app.state.frame.snapshot else 0)
    app.autosave.close(CLOSING_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(app.return_code or 0)  # do not wait for a step that still computes, nor for torch's exit handlers


def _saved(file: str, choice: ModelChoice, sampler: Sampler) -> Path:
    """The session to resume. Raises `UserError` where there is none or other options are given."""
    from core.sessions import reader, storage

    if choice != ModelChoice() or sampler != Sampler():
        raise UserError(
            _(
                "a session has its own model and sampler; leave out the options of model and sampler beside {resume} "
                "and change them in the app"
            ),
            resume=Option("resume"),
        )
    path = Path(file) if file else storage.newest(storage.default_folder())
    reader.read_record(path)
    return path.absolute()


def _read_keys_from_terminal() -> None:
    """Make the terminal standard input, after the prompt was read from it."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        return
    os.dup2(terminal, 0)
    os.close(terminal)

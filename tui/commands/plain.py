"""`--plain`: an app in lines of text."""

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from core.language import _
from tui.commands.common import exit_on_user_error, note_saved, say

if TYPE_CHECKING:
    from tui.plain.desk import Desk
    from tui.plain.spoken_app import Spoken

CLOSING_SECONDS = 2.0
"""How long to wait for a running step to end and the walk to be saved."""


def run_in_lines(app: "Spoken") -> NoReturn:
    """Run an app until the end of the input or the quit key, and end the program."""
    from tui.drawing import text
    from tui.plain.desk import Desk
    from tui.plain.keyboard import SingleKeys, keyboard

    text.speak()
    keys, closed = keyboard(dict(os.environ)), list[OSError]()

    def say_or_end(line: str) -> None:
        """Print a line; where nobody reads it any longer, end."""
        try:
            say(line)
        except OSError as error:
            closed.append(error)
            desk.end()

    desk = Desk(app, keys, say_or_end)
    desk.say(
        _("tokenwalk in plain lines; keys act at once, ? lists them")
        if isinstance(keys, SingleKeys)
        else _("tokenwalk in plain lines; write a key or a command in each line, ? lists them")
    )
    code = asyncio.run(_run(desk))
    app.runner.close(CLOSING_SECONDS)
    app.autosave.close(CLOSING_SECONDS)
    if not code:
        note_saved(app)
    with exit_on_user_error():
        if closed:
            raise closed[0]
        sys.stdout.flush()
    os._exit(code)  # do not wait for a step that still computes, nor for torch's exit handlers


async def _run(desk: "Desk") -> int:
    """Run a desk; signals end it, ctrl+c stops what goes on, and after ctrl+z the terminal is set again."""
    loop = asyncio.get_running_loop()
    for each in signal.Signals:
        if each.name in ("SIGTERM", "SIGHUP"):
            loop.add_signal_handler(each, desk.end, 128 + each)
        elif each.name == "SIGINT":
            loop.add_signal_handler(each, desk.interrupt)
        elif each.name == "SIGCONT":
            loop.add_signal_handler(each, desk.begin)
    return await desk.run()

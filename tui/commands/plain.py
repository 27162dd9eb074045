"""`tokenwalk --plain`: the walk in lines of text."""

import os
import signal
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

from core.errors import UserError
from core.language import _
from tui.commands.common import say
from tui.commands.opening import Opening
from tui.settings import Settings
from tui.wording import spell_without_keys

if TYPE_CHECKING:
    from core.walk.values import PromptForm

CLOSING_SECONDS = 2.0
"""How long to wait for a running step to end and the walk to be saved."""


def walk_in_lines(
    first: Opening, form: "PromptForm", count: int, settings: Settings, problems: Iterable[UserError]
) -> NoReturn:
    """Walk until the end of the input or the quit key, and end the program."""
    from core.sessions import storage
    from tui.drawing import text
    from tui.plain.actions import Actions
    from tui.plain.desk import Desk
    from tui.plain.keyboard import SingleKeys, keyboard

    text.speak()
    keys = keyboard(dict(os.environ))
    desk = Desk(
        first.choice,
        first.sampler,
        say=say,
        keyboard=keys,
        settings=settings,
        count=count,
        form=form,
        sessions=storage.default_folder(),
    )
    for problem in problems:
        desk.say(spell_without_keys(problem))
    desk.say(
        _("tokenwalk in plain lines; keys act at once, ? lists them")
        if isinstance(keys, SingleKeys)
        else _("tokenwalk in plain lines; write a key or a command in each line, ? lists them")
    )
    for each in signal.Signals:
        if each.name in ("SIGTERM", "SIGHUP"):
            signal.signal(each, lambda number, _frame: desk.end(128 + number))
        elif each.name == "SIGCONT":  # after ctrl+z the shell has set the terminal to lines
            signal.signal(each, lambda _number, _frame: keys.begin())
    try:
        code = desk.run(Actions(desk), first.text, first.saved, first.patches)
    finally:
        desk.runner.close(CLOSING_SECONDS)
        desk.autosave.close(CLOSING_SECONDS)
    sys.stdout.flush()
    os._exit(code)  # do not wait for a step that still computes, nor for torch's exit handlers

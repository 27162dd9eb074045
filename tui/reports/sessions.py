"""How a list shows a saved session."""

from datetime import datetime

from core.language import _, ngettext
from core.sessions.storage import SavedSession
from tui.drawing.text import fit, one_line, verbatim

NAME_WIDTH = 26
"""Cells of a session's name."""


def session_description(saved: SavedSession) -> tuple[str, str]:
    """The session's name (its prompt) and its description: time, model and size, or the problem with its file."""
    if saved.problem:
        problem = saved.problem.removeprefix(saved.path.name).lstrip(": ")
        return fit(one_line(saved.path.stem), NAME_WIDTH), one_line(problem)
    name = fit(verbatim(saved.prompt.strip()) or _("no prompt"), NAME_WIDTH)
    tokens = ngettext("{count:,} token", "{count:,} tokens", saved.tokens).format(count=saved.tokens)
    branches = ngettext("{count:,} branch", "{count:,} branches", saved.branches).format(count=saved.branches)
    when = f"{datetime.fromtimestamp(saved.when).astimezone():%Y-%m-%d %H:%M}"
    return name, f"{when} · {one_line(saved.model)} · {tokens} · {branches}"

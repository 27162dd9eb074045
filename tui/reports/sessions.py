"""How a list shows a saved session."""

from datetime import datetime

from core.sessions.storage import SavedSession
from tui.drawing.text import fit, one_line

NAME_WIDTH = 26
"""Cells of a session's name."""


def session_description(saved: SavedSession) -> tuple[str, str]:
    """The session's name (its prompt) and its description: time, model and size, or the problem with its file."""
    if saved.problem:
        problem = saved.problem.removeprefix(saved.path.name).lstrip(": ")
        return fit(one_line(saved.path.stem), NAME_WIDTH), one_line(problem)
    name = fit(one_line(saved.prompt.strip()) or "no prompt", NAME_WIDTH)
    tokens = f"{saved.tokens:,} token{'s' if saved.tokens != 1 else ''}"
    branches = f"{saved.branches:,} branch{'es' if saved.branches != 1 else ''}"
    when = f"{datetime.fromtimestamp(saved.when).astimezone():%Y-%m-%d %H:%M}"
    return name, f"{when} · {one_line(saved.model)} · {tokens} · {branches}"

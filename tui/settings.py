"""Reads a person's settings from `config.toml` in the configuration folder of the system. The file is never written."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from core.errors import UserError
from core.language import _
from tui import languages
from tui.config_file import keys_of_engines, path, read
from tui.keys import FOLLOW, LEAVE, NEWLINE, WALK

KEY = re.compile(r"((ctrl|shift|alt|super|hyper|meta)\+)*([a-z0-9_]+|[!-~])", re.IGNORECASE)
"""A key as Textual names it, such as `n`, `f5`, `ctrl+n` or `full_stop`."""
WRITING = (LEAVE.id, NEWLINE.id)
"""The actions whose keys act in the prompt only."""
LOCAL_FPS = 6
REMOTE_FPS = 5
"""Frames per second over ssh, where each frame delays the answer to a key."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The content of the file."""

    theme: str = "tokenwalk-dark"
    fps: int = LOCAL_FPS
    keys: dict[str, str] = field(default_factory=dict)
    """The key for a binding's id, such as `walk.step = "n"`."""
    plain: bool = False
    """Whether the app is lines of text (`--plain`)."""


def load() -> tuple[Settings, tuple[UserError, ...]]:
    """The settings, and a problem for each entry that is not valid, in whose place the default is used."""
    default = Settings(fps=REMOTE_FPS if os.environ.get("SSH_CONNECTION") else LOCAL_FPS)
    try:
        values = read(path())
    except UserError as error:
        return default, (error,)
    unknown = sorted(values.keys() - {"language", "theme", "fps", "plain", "keys", "remote"})
    problems = [
        _("there is no setting {name!r}; choose from language, theme, fps, plain, keys and remote").format(name=name)
        for name in unknown
    ]
    problems += keys_of_engines(values)[1]
    if (problem := languages.wrong_setting(values)) is not None:
        problems.append(problem)
    theme, fps, keys = values.get("theme", default.theme), values.get("fps", default.fps), values.get("keys", {})
    if type(fps) is not int or not 1 <= fps <= 60:
        problems.append(_("fps must be a whole number from 1 to 60"))
        fps = default.fps
    if not isinstance(theme, str):
        problems.append(_("theme must be a name in quotes"))
        theme = default.theme
    plain = values.get("plain", default.plain)
    if not isinstance(plain, bool):
        problems.append(_("plain must be true or false"))
        plain = default.plain
    if not isinstance(keys, dict):
        problems.append(_('[keys] must name actions, such as "walk.step" = "n", not {keys!r}').format(keys=keys))
        keys = {}
    wrong = dict(_wrong_keys(keys))
    problems += wrong.values()
    kept = {id: key for id, key in keys.items() if id not in wrong}
    return Settings(theme, fps, kept, plain), tuple(UserError(f"{path()}: {problem}") for problem in problems)


def _wrong_keys(keys: dict[str, object]) -> Iterator[tuple[str, str]]:
    """The ids of entries that cannot be used, with the reason."""
    usual = {binding.id: binding.key.split(",") for binding in (*WALK, *FOLLOW) if binding.id}
    bound = {id: key.split(",") for id, key in keys.items() if isinstance(key, str)}
    for id, key in keys.items():
        if id not in usual and id not in WRITING:
            yield id, _('[keys] must name actions, such as "walk.step" = "n", not {id!r}').format(id=id)
        elif not isinstance(key, str) or not all(map(KEY.fullmatch, key.split(","))):
            yield (
                id,
                _('[keys] {id!r} needs the name of a key, such as "n", "f5" or "ctrl+n", not {key!r}').format(
                    id=id, key=key
                ),
            )
        elif id not in WRITING:
            holders = (other for other in usual if other != id and set(bound.get(other, usual[other])) & set(bound[id]))
            if holder := next(holders, None):
                yield (
                    id,
                    _(
                        "[keys] {id!r} = {key!r}: this is the key of {holder!r}; give that one another key as well"
                    ).format(id=id, key=key, holder=holder),
                )

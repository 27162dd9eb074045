"""Reads a person's settings from `config.toml` in the configuration folder of the system. The file is never written."""

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from core.bounded import read_file
from core.errors import UserError
from tui.keys import LEAVE, WALK

LARGEST = 1_000_000
"""Bytes of the file at most."""
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


def path() -> Path:
    """The file of the settings, whether or not it exists."""
    return platformdirs.user_config_path("tokenwalk") / "config.toml"


def load() -> Settings:
    """The settings, or the defaults where there is no file. Raises `UserError` for a file that is not valid."""
    default = Settings(fps=REMOTE_FPS if os.environ.get("SSH_CONNECTION") else LOCAL_FPS)
    try:
        values = tomllib.loads(read_file(path(), LARGEST).decode("utf-8"))
    except FileNotFoundError:
        return default
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path()} cannot be read: {str(error).splitlines()[0]}") from error
    if unknown := values.keys() - {"theme", "fps", "keys"}:
        raise UserError(f"{path()}: there is no setting {sorted(unknown)[0]!r}; choose from theme, fps and keys")
    theme, fps, keys = values.get("theme", default.theme), values.get("fps", default.fps), values.get("keys", {})
    if type(fps) is not int or not 1 <= fps <= 60:
        raise UserError(f"{path()}: fps must be a whole number from 1 to 60")
    if not isinstance(theme, str):
        raise UserError(f"{path()}: theme must be a name in quotes")
    known = {binding.id for binding in (*WALK, LEAVE)}
    for id, key in keys.items() if isinstance(keys, dict) else [("keys", None)]:
        if id not in known or not isinstance(key, str):
            raise UserError(f'{path()}: [keys] must name actions, such as "walk.step" = "n", not {id!r}')
    return Settings(theme, fps, keys)

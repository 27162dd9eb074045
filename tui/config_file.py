"""`config.toml` in the configuration folder of the system: where it is, its values, and the keys of engines in it.

Needs no Textual. The file is never written.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import platformdirs

from core.bounded import read_file
from core.errors import UserError
from core.language import _

LARGEST = 1_000_000
"""Bytes of the file at most."""
_HOST = re.compile(r"[^\s/@]+:\d{1,5}")


def path() -> Path:
    """The file, whether or not it exists."""
    return platformdirs.user_config_path("tokenwalk") / "config.toml"


def read(file: Path) -> dict[str, Any]:
    """The values of the file; none where there is no file. Raises `UserError` where it is not TOML."""
    try:
        return tomllib.loads(read_file(file, LARGEST).decode("utf-8"))
    except FileNotFoundError:
        return {}
    except UserError:
        raise
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(_("{file} cannot be read: {reason}"), file=file, reason=str(error).splitlines()[0]) from error


def keys_of_engines(values: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Keys by `host:port`, from `[remote."host:port"]`, and what is wrong with others; no key is in the words."""
    entries = values.get("remote", {})
    if not isinstance(entries, dict):
        return {}, [_('[remote."host:port"] must hold key = "…"')]
    keys, problems = {}, []
    for host, entry in entries.items():
        if not _HOST.fullmatch(host):
            problems.append(
                _('[remote.{host!r}] must name a host and its port, such as [remote."gpu-box:8000"]').format(host=host)
            )
        elif not isinstance(entry, dict) or entry.keys() != {"key"} or not isinstance(entry["key"], str):
            problems.append(_('[remote."{host}"] must hold key = "…", and nothing else').format(host=host))
        else:
            keys[host.lower()] = entry["key"]
    return keys, problems


def engine_keys() -> dict[str, str]:
    """Keys by `host:port`. Raises `UserError` for a file or an entry of it that is not valid."""
    keys, problems = keys_of_engines(read(path()))
    if problems:
        raise UserError(f"{path()}: {problems[0]}")
    return keys

"""The keys of engines, by host. They are looked up when a server is named, and are never kept with a model's choice."""

import os
from collections.abc import Callable, Mapping

VARIABLE = "TOKENWALK_API_KEY"
"""The environment variable with the key for a host that the settings have none for."""

_settings: list[Callable[[], Mapping[str, str]]] = []


def use(settings: Callable[[], Mapping[str, str]]) -> None:
    """Look keys up in what `settings` returns, by `host:port`; it is called when a server is named."""
    _settings[:] = [settings]


def of_settings(host: str) -> str:
    """The key that the settings have for `host:port`; empty where there is none. Raises what `settings` raises.

    That of the environment is for a host that a person names, not for one that a file names.
    """
    return next((key for settings in _settings if (key := settings().get(host))), "")


def find(host: str) -> str:
    """The key for `host:port`; empty where there is none. Raises what `settings` raises."""
    return of_settings(host) or os.environ.get(VARIABLE, "").strip()

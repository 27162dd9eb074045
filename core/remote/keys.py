"""The keys of engines, by host. They are looked up when a server is named, and are never kept with a model's choice."""

import os
from collections.abc import Callable, Mapping

VARIABLE = "TOKENWALK_API_KEY"
"""The environment variable with the key for a host that the settings have none for."""

_settings: list[Callable[[], Mapping[str, str]]] = []


def use(settings: Callable[[], Mapping[str, str]]) -> None:
    """Look keys up in what `settings` returns, by `host:port`; it is called when a server is named."""
    _settings[:] = [settings]


def find(host: str) -> str:
    """The key for `host:port`; empty where there is none. Raises what `settings` raises."""
    for settings in _settings:
        if key := settings().get(host):
            return key
    return os.environ.get(VARIABLE, "").strip()

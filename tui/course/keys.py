"""Keys as lessons write them: `space`, `shift+down`, `.`, an action's id, or a `"typed text"`; `*5` repeats one."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache

from textual import events
from textual.keys import KEY_ALIASES, Keys, _character_to_key

from core.language import _
from tui.keys import LEAVE, NEWLINE, WALK, key_name

MOST = 99
"""How often a key is repeated at most."""
_MODIFIERS = ("shift", "ctrl", "alt")


@cache
def actions() -> Mapping[str, str]:
    """The id of each action, and its usual keys."""
    return {binding.id: binding.key for binding in (*WALK, LEAVE, NEWLINE) if binding.id}


@cache
def ids() -> Mapping[str, str]:
    """The action that each binding of the walk screen runs, and its id."""
    return {binding.action: binding.id for binding in (*WALK, LEAVE, NEWLINE) if binding.id}


@cache
def _names() -> frozenset[str]:
    return frozenset(key.value for key in Keys) | frozenset(KEY_ALIASES) | {"space", "enter", "escape", "tab"}


def problem(word: str) -> str:
    """What is wrong with a key; empty where nothing is."""
    try:
        for _key in pressed(word):
            pass
    except ValueError as error:
        return str(error)
    return ""


def pressed(word: str, remapped: Mapping[str, str] | None = None) -> Iterator[str]:
    """The keys of a word, as Textual names them. Raises `ValueError` for a word that names none."""
    if len(word) >= 2 and word[0] == word[-1] == '"':
        yield from map(_character_to_key, word[1:-1])
        return
    name, star, times = word.rpartition("*")
    if not (star and name and times.isdecimal()):
        name, times = word, "1"
    if not 1 <= int(times) <= MOST:
        raise ValueError(_("{word!r}: a key is repeated 1 to {most} times").format(word=word, most=MOST))
    key = _key(name, remapped or {})
    for _time in range(int(times)):
        yield key


def is_view(word: str) -> bool:
    """Whether a word changes what a lens shows, and nothing of the walk."""
    return word.partition("*")[0] in ("lens.turn", "lens.up", "lens.down", "lens.left", "lens.right")


def own_key(word: str) -> str:
    """What is wrong with a key that is pressed on the panels: the usual key of an action, which may be remapped."""
    name = word.rpartition("*")[0] or word
    key = _character_to_key(name) if len(name) == 1 else name
    found = next((id for id, usual in actions().items() if key in usual.split(",")), "")
    if not found or name in actions():
        return ""
    return _("{name!r}: name its action, {id}, as a person may have another key for it").format(name=name, id=found)


def shown(word: str, label: Callable[[str], str]) -> str:
    """A word as a person reads it: `label` gives the key of an action's id."""
    name, star, times = word.rpartition("*")
    if word[:1] == '"' or not (star and name and times.isdecimal()):
        name, times = word, ""
    key = label(name) if name in actions() else name if name[:1] == '"' else key_name(name)
    return f"{key} ×{times}" if times else key


def event(key: str) -> events.Key:
    """The event of a key, with the character that it types."""
    return events.Key(key, _characters().get(key, key if len(key) == 1 else None))


def _key(name: str, remapped: Mapping[str, str]) -> str:
    if name in actions():
        return (remapped.get(name) or actions()[name]).partition(",")[0]
    if len(name) == 1:
        return _character_to_key(name)
    *modifiers, last = name.split("+")
    known = last in _names() or (len(last) == 1 and modifiers) or last in _characters()
    if known and all(each in _MODIFIERS for each in modifiers):
        return name
    raise ValueError(_("there is no key or action {name!r}").format(name=name))


@cache
def _characters() -> Mapping[str, str]:
    """The character of each key with a name, such as `full_stop`."""
    return {_character_to_key(chr(code)): chr(code) for code in range(32, 127)}

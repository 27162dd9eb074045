"""Spells the errors of `core` for a person: options as flags, actions as the keys that are bound to them."""

from collections.abc import Callable, Mapping

from core.errors import Action, Option, UserError
from core.language import N_, _

COMPILING = N_("compiling for this processor, only once …")
"""Why the first model from files takes some seconds longer than any later one."""


def spell(error: UserError, key_of: Callable[[str], str], *, in_app: bool = True) -> str:
    """The line of an error. `key_of` gives the label of the key that an action's id is bound to."""

    def part(each: str | Option | Action) -> str:
        if isinstance(each, Option):
            return key_of(each.action) if each.action and in_app else f"--{each.name}"
        return key_of(each.id) if isinstance(each, Action) else each

    return "".join(map(part, error.parts))


def keys_at_present(remapped: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """A function from an action's id to the label of its first key; `remapped` holds the keys of the settings."""
    from tui.keys import FOLLOW, LEAVE, NEWLINE, WALK, key_name  # noqa: PLC0415  (Textual, which the command line does without)

    remapped = remapped or {}
    keys = {binding.id: remapped.get(binding.id or "", binding.key) for binding in (*WALK, *FOLLOW, LEAVE, NEWLINE)}

    def label(id: str) -> str:
        return key_name(keys[id].partition(",")[0])

    return label


def spell_without_keys(error: UserError) -> str:
    """The line of an error on the command line: a key is named with the words `in the app`."""
    return spell(error, lambda id: _("{key} in the app").format(key=keys_at_present()(id)), in_app=False)

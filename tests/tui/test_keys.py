"""One list of keys feeds the bindings, the footer, the help and the palette."""

from collections import Counter

import pytest
from textual.binding import Binding

from tui.keys import FOLLOW, GROUPS, LEAVE, NEWLINE, WALK, key_name

DIGITS = {f"walk.take_{n}" for n in range(2, 10)}
"""What the help says in one line with the first."""


def test_every_binding_has_its_own_id() -> None:
    counted = Counter(binding.id for binding in WALK)
    assert None not in counted
    assert max(counted.values()) == 1


@pytest.mark.parametrize("binding", [*WALK, LEAVE, NEWLINE], ids=lambda binding: binding.id)
def test_every_binding_explains_itself(binding: Binding) -> None:
    assert binding.id
    assert binding.tooltip
    assert binding.description


def test_no_key_is_bound_twice() -> None:
    counted = Counter(key for binding in WALK for key in binding.key.split(","))
    assert max(counted.values()) == 1


def test_the_help_shows_every_binding_once() -> None:
    shown = Counter(id for ids in GROUPS.values() for id in ids)
    assert set(shown) == {binding.id for binding in (*WALK, *FOLLOW)} - DIGITS
    assert max(shown.values()) == 1


@pytest.mark.parametrize("key", [k for binding in WALK for k in binding.key.split(",")])
def test_every_key_can_be_sent_by_any_terminal(key: str) -> None:
    """Terminals, tmux and ssh do not tell ctrl+enter, shift+enter or alt+letter from others; shifted arrows they do."""
    assert "alt+" not in key
    assert "shift+" not in key or key.removeprefix("shift+") in {"up", "down", "left", "right"}
    assert key not in {"ctrl+enter", "ctrl+space", "ctrl+i", "ctrl+m", "ctrl+h", "ctrl+b"}


@pytest.mark.parametrize(
    ("key", "name"), [("space", "space"), ("up", "↑"), ("left_square_bracket", "["), ("ctrl+r", "^r"), ("g", "g")]
)
def test_keys_have_short_labels(key: str, name: str) -> None:
    assert key_name(key) == name

"""What the terminal sends: pasted text is literal, and split markers are put together. ASCII output keeps its width."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual import events

from tui.driver import InputParser, ascii_only, to_ascii

START, END = "\x1b[200~", "\x1b[201~"


def read(*parts: str) -> list[str]:
    """What is read from the parts of an input: keys by name, pasted text in brackets."""
    parser, found = InputParser(), list[str]()
    for part in parts:
        for message in parser.feed(part):
            if isinstance(message, events.Paste):
                found.append(f"[{message.text}]")
            elif isinstance(message, events.Key):
                found.append(message.key)
    return found


@pytest.mark.parametrize("text", ["ab\x1b\x1bq", "\x1b", "\x1b[A", "\x1b[200~x", "a\x1b[201", "q\nq\t", "字"])
def test_pasted_text_is_literal(text: str) -> None:
    assert read(f"x{START}{text}{END}y") == ["x", f"[{text}]", "y"]


@given(text=st.text(alphabet="ab\x1b[20~\n", max_size=12), cuts=st.lists(st.integers(0, 40), max_size=4))
def test_a_paste_is_the_same_however_its_bytes_arrive(text: str, cuts: list[int]) -> None:
    whole = f"x{START}{text}{END}y"
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    if any(whole[place - 1] == "\x1b" and place == 2 for place in places[1:-1]):
        return  # a lone escape is a key until its time is over; the parser of keys takes the marker then
    expected = text.partition(END)[0]
    if END not in text:
        assert read(*(whole[a:b] for a, b in pairwise(places))) == ["x", f"[{expected}]", "y"]


def test_keys_around_a_paste_are_read_as_before() -> None:
    assert read("\x1b[A", f"{START}a{END}", "\x1b[B", f"{START}b{END}q") == ["up", "[a]", "down", "[b]", "q"]


def test_an_end_that_may_begin_a_marker_is_read_once_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = InputParser()
    assert [*parser.feed("a\x1b[2")] != []
    parser._held_until = 0.0
    assert [*parser.tick()] == []  # read as the beginning of a sequence
    assert [message.key for message in parser.feed("~") if isinstance(message, events.Key)] == ["insert"]


@given(text=st.text(alphabet="ab█▏░│┌…·→字\u2800⣿é", max_size=20))
def test_ascii_has_the_width_of_the_original(text: str) -> None:
    assert to_ascii(text).isascii()
    assert cell_len(to_ascii(text)) == cell_len(text)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"LC_ALL": "C"}, True),
        ({"LANG": "POSIX"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LC_CTYPE": "C.UTF-8"}, False),
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LC_ALL": "vi_VN.UTF-8", "LANG": "C"}, False),
        ({"LC_CTYPE": "C", "LANG": "en_US.UTF-8"}, True),
    ],
    ids=str,
)
def test_the_locale_decides_about_ascii(environment: dict[str, str], expected: bool) -> None:
    assert ascii_only(environment) is expected

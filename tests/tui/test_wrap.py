"""Wrapping text that grows at its end: no text is lost, and no line is wider than allowed."""

from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.drawing.text import prose
from tui.drawing.wrap import Fragment, Wrap

texts = st.lists(st.text(st.sampled_from("ab  \n字́🇩한-.") | st.characters(), max_size=12).map(prose), max_size=12)
widths = st.integers(2, 30)


def numbered(texts: list[str]) -> list[Fragment]:
    return list(enumerate(texts))


def wrapped(texts: list[str], width: int) -> Wrap:
    wrap = Wrap(width)
    wrap.extend(numbered(texts))
    return wrap


def lines(wrap: Wrap) -> list[list[Fragment]]:
    return [wrap[number] for number in range(len(wrap))]


@given(texts, widths)
def test_wrapped_lines_hold_the_whole_text(texts: list[str], width: int) -> None:
    held = "".join(text for line in lines(wrapped(texts, width)) for _, text in line)
    assert held.replace("\n", "") == "".join(texts).replace("\n", "")


@given(texts, widths)
@example(["🇩🇩🇩"], 2)
def test_no_line_is_wider_than_the_width_but_for_spaces_at_its_end(texts: list[str], width: int) -> None:
    for line in lines(wrapped(texts, width)):
        assert cell_len("".join(text for _, text in line).rstrip(" \n")) <= width


@given(texts, widths, st.integers(0, 12))
def test_appending_in_parts_equals_appending_at_once(texts: list[str], width: int, cut: int) -> None:
    in_pieces = Wrap(width)
    in_pieces.extend(numbered(texts)[:cut])
    in_pieces.extend(numbered(texts)[cut:])
    assert lines(in_pieces) == lines(wrapped(texts, width))


@given(texts, widths)
def test_each_fragment_names_its_token(texts: list[str], width: int) -> None:
    held = [""] * len(texts)
    for line in lines(wrapped(texts, width)):
        for token, text in line:
            held[token] += text
    assert [text.replace("\n", "") for text in held] == [text.replace("\n", "") for text in texts]


def test_a_line_breaks_after_a_space_where_there_is_one() -> None:
    wrap = wrapped(["I", " prefer", " oat", " milk"], 9)
    assert ["".join(text for _, text in line) for line in lines(wrap)] == ["I prefer ", "oat milk"]


def test_a_word_longer_than_a_line_is_cut() -> None:
    assert lines(wrapped(["abcdefg"], 3)) == [[(0, "abc")], [(0, "def")], [(0, "g")]]


def test_a_line_feed_ends_a_line() -> None:
    assert len(wrapped(["a\n\nb"], 10)) == 3


def test_an_append_leaves_finished_lines_as_they_are() -> None:
    wrap = wrapped(["one ", "two ", "three "], 6)
    finished = [list(line) for line in wrap.lines]
    wrap.extend([(3, "four five")])
    assert wrap.lines[: len(finished)] == finished

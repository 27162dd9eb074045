"""Any text becomes inert text of the stated width."""

import unicodedata
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from core.sampling.bounds import Bounded, Bounds
from tui.drawing.text import (
    compact,
    decimals_for,
    fit,
    in_place,
    label,
    number_in,
    one_line,
    percent,
    printed,
    prose,
    signed,
)

SELECTORS = [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]
SKIN_TONES = range(0x1F3FB, 0x1F400)
HOSTILE = "\x1b[2J\x1b]52;c;aGk=\x07\x7f\x9b1m\u202eabc\u2066\u200d\u200b\ufeff\ufe0f\U0001f3fb\ud800\t\r"

anything = st.text(st.characters(exclude_categories=())) | st.text(st.sampled_from(HOSTILE + "a字́ \n"))
"""Any text, half a surrogate pair and the worst characters included."""


def obeyed(text: str, allowed: str = "") -> list[str]:
    """The characters of a text that a terminal may obey, hide or join to others."""
    return [
        c
        for c in text
        if c not in allowed
        and (
            unicodedata.category(c) in ("Cc", "Cf", "Cs")
            or ord(c) in SELECTORS
            or ord(c) in SKIN_TONES
            or c in "\u2028\u2029\u20e3"
        )
    ]


@given(anything)
@example(HOSTILE)
def test_prose_is_inert_but_for_line_feeds(text: str) -> None:
    assert obeyed(prose(text), allowed="\n") == []


@given(anything)
@example(HOSTILE)
def test_printed_text_is_inert_but_for_line_feeds_and_tabs(text: str) -> None:
    assert obeyed(printed(text), allowed="\n\t") == []


@given(anything)
@example(HOSTILE)
def test_a_line_is_inert(text: str) -> None:
    assert obeyed(one_line(text)) == []


@given(anything)
@example(HOSTILE)
def test_an_editor_line_is_inert_but_for_tabs_and_keeps_its_columns(text: str) -> None:
    shown = in_place(text)
    assert obeyed(shown, allowed="\t") == []
    assert len(shown) == len(text)


@given(anything)
@example(HOSTILE)
def test_a_label_of_any_text_is_inert(text: str) -> None:
    assert obeyed(label(text.encode("utf-8", "surrogatepass"))) == []


@given(st.binary())
@example(b"\x1b\x9b\xe2\x80\xff")
def test_a_label_of_any_bytes_is_inert(piece: bytes) -> None:
    assert obeyed(label(piece)) == []


@pytest.mark.parametrize("codes", [SELECTORS, SKIN_TONES], ids=["variation selectors", "skin tones"])
def test_characters_that_change_the_width_of_others_are_escaped(codes: Iterable[int]) -> None:
    drawn = {code: prose(chr(code)) + one_line(chr(code)) + in_place(chr(code)) for code in codes}
    assert [hex(code) for code, shown in drawn.items() if chr(code) in shown] == []
    assert [hex(code) for code in codes if chr(code) in label(chr(code).encode())] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [red] text", "plain [red] text"),
        ("two\nlines", "two\nlines"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\tb\r", "a⇥b\\x0d"),
        ("\u202egnp", "\\u202egnp"),
        ("👨\u200d👩", "👨\\u200d👩"),
        ("\U0001f44d\U0001f3fb", "👍\\U0001f3fb"),
        ("字", "字"),
    ],
)
def test_prose_escapes_hidden_characters_only(text: str, shown: str) -> None:
    assert prose(text) == shown


@pytest.mark.parametrize(
    ("piece", "shown"),
    [
        (b" the", "·the"),
        (b"\n\n", "↵↵"),
        (b"\t\r", "⇥␍"),
        (b"\xe2\x80", "\\xe2\\x80"),
        (b" \xf0\x9f", "·\\xf0\\x9f"),
        ("\ufffd".encode(), "\ufffd"),
        ("é".encode(), "é"),
        ("\u0301".encode(), "◌\u0301"),
        (b"[/bold]", "[/bold]"),
        (b"", ""),
    ],
)
def test_labels_show_spaces_and_bytes_by_symbols(piece: bytes, shown: str) -> None:
    assert label(piece) == shown


@given(st.binary())
@example(b"\xe2\x80")
@example(b"\xef\xbf\xbd")
def test_a_replacement_character_is_shown_only_where_the_bytes_hold_one(piece: bytes) -> None:
    assert label(piece).count("\ufffd") == piece.decode("utf-8", "ignore").count("\ufffd")


@given(anything, st.integers(-3, 40))
@example("字字字", 4)
@example("字", 1)
@example("a字b", 2)
@example("\U0001f1e9\U0001f1ea", 1)
def test_fit_has_exactly_the_requested_width(text: str, width: int) -> None:
    assert cell_len(fit(one_line(text), width)) == max(0, width)


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("oat", 5, "oat  "),
        ("oat", 3, "oat"),
        ("oat milk", 5, "oat …"),
        ("字字字", 4, "字… "),
        ("oat", 1, "…"),
        ("a", 0, ""),
    ],
)
def test_fit_cuts_with_an_ellipsis_or_pads(text: str, width: int, shown: str) -> None:
    assert fit(text, width) == shown


@pytest.mark.parametrize(
    ("largest", "decimals"),
    [(1.0, 2), (0.001, 2), (0.0009, 3), (0.0001, 3), (0.00005, 4), (0.000005, 5), (0.0000005, 6), (0.0, 6)],
)
def test_decimals_show_two_digits_of_the_largest_share(largest: float, decimals: int) -> None:
    assert decimals_for(largest) == decimals
    if largest >= 1e-7:
        assert len(percent(largest, decimals).strip("0.%").replace(".", "")) >= 1


def test_percent_has_fixed_decimals() -> None:
    assert percent(0.5, 2) == "50.00%"
    assert percent(0.000031, 4) == "0.0031%"


@pytest.mark.parametrize(
    ("share", "decimals", "shown"),
    [
        (0.0, 2, "0%"),
        (0.00005, 2, "0.01%"),
        (0.000046, 2, "0.0046%"),
        (0.000001, 2, "0.0001%"),
        (0.0000004, 2, "4e-5%"),
        (4e-12, 2, "4e-10%"),
        (0.0000046, 4, "0.0005%"),
        (0.0000004, 4, "4e-5%"),
        (0.0001, 1, "0.010%"),
        (Bounds(0.0, 0.0000004), 2, "≤ 4e-5%"),
        (Bounds(0.000046, 0.0002), 2, "0.0046–0.02%"),
    ],
)
def test_a_share_above_zero_never_reads_zero(share: Bounded, decimals: int, shown: str) -> None:
    assert percent(share, decimals) == shown


@given(st.floats(0, 1), st.integers(2, 6))
@example(5e-324, 2)
@example(0.000005, 2)
@example(9.99e-7, 2)
def test_a_percentage_is_no_wider_than_its_column(share: float, decimals: int) -> None:
    shown = percent(share, decimals)
    assert len(shown) <= len(percent(1.0, decimals))
    assert float(shown[:-1]) / 100 == pytest.approx(share, rel=0.51, abs=0.5 * 10.0 ** (-decimals - 2))
    assert (float(shown[:-1]) == 0) == (share == 0)


@pytest.mark.parametrize(
    ("count", "number", "unit"),
    [
        (0, 0, ""),
        (999, 999, ""),
        (1_000, 1, "k"),
        (999_960, 1, "M"),
        (12_935_733, 12.9, "M"),
        (124e6, 124, "M"),
        (1.5e9, 1.5, "G"),
    ],
)
def test_large_counts_have_three_digits(count: float, number: float, unit: str) -> None:
    digits, _, after = compact(count).partition(" ")
    assert (float(digits), after) == (number, unit)
    assert len(digits.replace(".", "")) <= 3


@given(st.floats(0, 9.9e14))
@example(999.9)
@example(999_600.0)
def test_no_count_is_written_with_an_exponent(count: float) -> None:
    assert "e" not in compact(count)


@given(st.floats(-1e9, 1e9), st.integers(6, 10))
@example(-123_456.0, 6)
@example(-99.996, 6)
def test_a_number_has_exactly_the_width_of_its_column(value: float, width: int) -> None:
    shown = number_in(value, width)
    assert len(shown) == width
    assert float(shown) == pytest.approx(value, rel=0.5, abs=0.5)


def test_a_signed_number_of_which_all_digits_are_zero_has_no_sign() -> None:
    assert [signed(value) for value in (0.25, -1.0, -0.0004, 0.0, None)] == [
        "+0.250", "-1.000", " 0.000", " 0.000", "  ·   ",
    ]  # fmt: skip

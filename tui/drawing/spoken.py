"""Says a line that was made to be looked at: without boxes and bars, and with words in the place of signs.

Only signs that the app draws become words. Text of a model is `kept`: its signs go through `spoken` as characters of a
private plane, and are `restored` where the line is printed.
"""

import re
import unicodedata

from core.language import N_, _

DRAWN = re.compile("[\u2500-\u259f\u2800-\u28ff]+")
"""Box drawing, blocks, shades and braille."""
ARROWS = (
    ("←→↑↓", N_("arrows")),
    ("↑↓", N_("up or down")),
    ("←→", N_("left or right")),
    ("⇧→", N_("shift+right")),
    ("⇧←", N_("shift+left")),
    ("⇧↑", N_("shift+up")),
    ("⇧↓", N_("shift+down")),
)
SIGNS = {
    "⏎": N_("enter"),
    "⇧": N_("shift with") + " ",
    "↑": N_("up"),
    "↓": N_("down"),
    "←": N_("becomes"),
    "→": N_("to"),
    "↳": "",
    "·": "-",
    "–": "-",
    "—": "-",
    "•": "-",
    "−": "-",
    "‑": "-",
    "…": "...",
    "×": "x",
    "≤": N_("at most"),
    "≥": N_("at least"),
    "≈": N_("about"),
    "≠": N_("not equal to"),
    "∞": N_("infinite"),
    "√": N_("root of") + " ",
    "‖": "|",
    "‹": "",
    "›": "",
    "▸": "",
    "◂": "",
    "◆": "",
    "◌": "",
    "↪": "",
    "✓": N_("yes"),
    "✗": N_("no"),
    "●": N_("on"),
    "○": N_("off"),
    "↵": "\\n",
    "⇥": "\\t",
    "␍": "\\r",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "\u00a0": " ",
}
"""Signs of the app, and what is said for each."""


TIMES = re.compile(r"(?<=[^\s(]) ?· ?(?=[^\s)])")
BLANKS = re.compile(" {2,}")
PRIVATE = re.compile("[\U000f0000-\U0010ffff]")
"""The planes 15 and 16, in the place of the characters of the planes 1 and 0."""


def is_plain(character: str) -> bool:
    """Whether a character is a letter, a digit, a sign of money or of a keyboard."""
    category = unicodedata.category(character)
    return " " <= character <= "~" or category[0] in "LMN" or category == "Sc"


def spoken(line: str) -> str:
    """A line of a panel or a report as it is read aloud; runs of blanks, which align its columns, become two."""
    line = re.sub(r" \([·→←↑↓]\)", "", line)  # a sign beside its name
    words = re.sub(r"(?<=\S) +· +(?=\S)", ", ", DRAWN.sub(lambda found: "|" if found.group() == "│" else "", line))
    for arrow, name in ARROWS:
        words = words.replace(arrow, _(name))
    words = re.sub(r"(?<=\S) → ", f" {_('to')} ", words)
    return re.sub(r"(?<=\S) {2,}", "  ", "".join(map(_said, words))).strip()


def formula(text: str) -> str:
    """A formula, or prose with formulas, in which `·` multiplies; elsewhere it separates."""
    return TIMES.sub(f" {_('times')} ", text)


def kept(text: str) -> str:
    """Text of a model for a line that becomes `spoken`, which leaves it as it is."""
    hidden = "".join(each if is_plain(each) and each not in SIGNS else _hidden(each) for each in text)
    return BLANKS.sub(lambda found: "".join(map(_hidden, found.group())), hidden)


def restored(line: str) -> str:
    """A line whose text of a model is as it was before `kept`."""
    return PRIVATE.sub(lambda found: chr((ord(found.group()) - 0xF0000 + 0x10000) % 0x20000), line)


def _hidden(character: str) -> str:
    """The private character for one of the planes 0 and 1, where all signs are."""
    code = ord(character)
    return chr(0xF0000 + (code + 0x10000) % 0x20000) if code < 0x20000 else character


def _said(character: str) -> str:
    if (sign := SIGNS.get(character)) is not None:
        words = sign.strip()
        return sign.replace(words, _(words)) if words else sign
    if is_plain(character) or unicodedata.category(character)[0] == "P" or PRIVATE.match(character):
        return character
    return f" {unicodedata.name(character, '').lower()} "

"""Says a line that was made to be looked at: without boxes and bars, and with words in the place of signs."""

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


def is_plain(character: str) -> bool:
    """Whether a character is a letter, a digit, a sign of money or of a keyboard."""
    category = unicodedata.category(character)
    return " " <= character <= "~" or category[0] in "LMN" or category == "Sc"


def spoken(line: str) -> str:
    """A line of a panel or a report as it is read aloud; runs of blanks, which align its columns, become two."""
    words = re.sub(r"(?<=\S) +· +(?=\S)", ", ", DRAWN.sub(lambda found: "|" if found.group() == "│" else "", line))
    for arrow, name in ARROWS:
        words = words.replace(arrow, _(name))
    words = re.sub(r"(?<=\S) → ", f" {_('to')} ", words)
    return re.sub(r"(?<=\S) {2,}", "  ", "".join(map(_said, words))).strip()


def _said(character: str) -> str:
    if (sign := SIGNS.get(character)) is not None:
        words = sign.strip()
        return sign.replace(words, _(words)) if words else sign
    if is_plain(character) or unicodedata.category(character)[0] == "P":
        return character
    return f" {unicodedata.name(character, '').lower()} "

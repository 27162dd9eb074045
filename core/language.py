"""The language of messages. English texts are the keys of the catalogues; a text without a translation stays English.

`_("{count} tokens are left").format(count=3)`: a text is translated before values are put into it. Values have names,
because another language may need another order. `N_` marks a text that is translated later, where it is shown.
`tests/catalogues.py` collects the texts and compiles the catalogues in `core/languages`.
"""

import gettext
from pathlib import Path

FOLDER = Path(__file__).with_name("languages")
"""The catalogues: `vi/LC_MESSAGES/tokenwalk.po`, which people write, and `tokenwalk.mo`, which is read here."""
DOMAIN = "tokenwalk"
ENGLISH = "en"

_catalogue: gettext.NullTranslations = gettext.NullTranslations()
_name = ENGLISH


def _(text: str) -> str:
    """The text in the language in use."""
    return _catalogue.gettext(text) if text else text


def ngettext(one: str, many: str, count: int) -> str:
    """The text for a count, in the language in use."""
    return _catalogue.ngettext(one, many, count)


def N_(text: str) -> str:  # noqa: N802  # the name that extractors know
    """The text as it is, marked for the catalogues."""
    return text


def languages() -> tuple[str, ...]:
    """The languages there are, such as `en` and `vi`."""
    return (ENGLISH, *sorted(file.parts[-3] for file in FOLDER.glob(f"*/LC_MESSAGES/{DOMAIN}.mo")))


def speak(name: str) -> None:
    """Translate into one of `languages` from now on. Raises `OSError` for another."""
    use(gettext.NullTranslations() if name == ENGLISH else gettext.translation(DOMAIN, FOLDER, [name]), name)


def spoken() -> str:
    """The language in use."""
    return _name


def use(catalogue: gettext.NullTranslations, name: str = ENGLISH) -> None:
    """Translate by a catalogue from now on."""
    global _catalogue, _name  # one language a process
    _catalogue, _name = catalogue, name

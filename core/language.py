"""The language of messages. English texts are the keys of the catalogues; a text without a translation stays English.

`_("{count} tokens are left").format(count=3)`: a text is translated before values are put into it. Values have names,
because another language may need another order. `N_` marks a text that is translated later, where it is shown.
"""

import gettext

_catalogue: gettext.NullTranslations = gettext.NullTranslations()


def _(text: str) -> str:
    """The text in the language in use."""
    return _catalogue.gettext(text) if text else text


def ngettext(one: str, many: str, count: int) -> str:
    """The text for a count, in the language in use."""
    return _catalogue.ngettext(one, many, count)


def N_(text: str) -> str:  # noqa: N802  # the name that extractors know
    """The text as it is, marked for the catalogues."""
    return text


def use(catalogue: gettext.NullTranslations) -> None:
    """Translate by a catalogue from now on."""
    global _catalogue  # noqa: PLW0603  # one language a process
    _catalogue = catalogue

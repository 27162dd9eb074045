"""Which language the program speaks: `--lang`, the environment, or the setting `language`. Needs no Textual."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core import language
from core.errors import Option, UserError
from core.language import N_, _
from tui import config_file

OPTION = "--lang"
VARIABLE = "TOKENWALK_LANG"
LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
"""The variables of the locale, the first that is set; `LANGUAGE` goes before them, as gettext has it."""

NONE = N_("{source}: there is no language {name!r}; choose from {languages}")


def choose(arguments: Sequence[str]) -> list[str]:
    """Speak the language that is asked for, and return the arguments without `--lang`.

    Raises `UserError` for a language that there is not, where `--lang` or `TOKENWALK_LANG` names it.
    """
    given, rest = _taken(arguments)
    asked = os.environ.get(VARIABLE) if given is None else given
    language.speak((asked and _known(asked)) or _of_settings() or _of_locale(os.environ))
    if (given is not None or asked) and _known(str(asked)) is None:
        source = VARIABLE if given is None else Option(OPTION.strip("-"))
        raise UserError(_(NONE), source=source, name=asked, languages=", ".join(language.languages()))
    if given is not None:
        os.environ[VARIABLE] = language.spoken()  # for the programs that this one starts
    return rest


def wrong_setting(values: Mapping[str, Any]) -> str | None:
    """What is wrong with `language` among the values of `config.toml`; None where it is absent or valid."""
    name = values.get("language", language.ENGLISH)
    if isinstance(name, str) and _known(name):
        return None
    return _(NONE).format(source="language", name=name, languages=", ".join(language.languages()))


def _taken(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The value of `--lang`, given last, and the other arguments; behind `--` all are others."""
    given, rest, left = None, list[str](), iter(arguments)
    for argument in left:
        name, equals, value = argument.partition("=")
        if argument == "--":
            return given, [*rest, argument, *left]
        if name != OPTION:
            rest.append(argument)
        elif equals:
            given = value
        else:
            given = next(left, "")
    return given, rest


def _known(name: str) -> str | None:
    """The language among ours of a name such as `vi`, `vi_VN.UTF-8` or `en-GB`; None where there is none."""
    wanted = name.replace("-", "_").partition(".")[0].partition("@")[0].partition("_")[0].lower()
    return wanted if wanted in language.languages() else None


def _of_settings() -> str | None:
    """The language of `config.toml`; the app and commands say elsewhere what is wrong with that file."""
    try:
        name = config_file.read(config_file.path()).get("language")
    except UserError:
        return None
    return _known(name) if isinstance(name, str) else None


def _of_locale(environment: Mapping[str, str]) -> str:
    """The language of the locale; English where it is C or a language that there is not."""
    return next((known for name in _locales(environment) if (known := _known(name))), language.ENGLISH)


def _locales(environment: Mapping[str, str]) -> Iterator[str]:
    locale = next((environment[name] for name in LOCALE if environment.get(name)), "C")
    if locale.partition(".")[0] not in ("C", "POSIX"):
        yield from filter(None, environment.get("LANGUAGE", "").split(":"))
        yield locale

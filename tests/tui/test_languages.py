"""Which language the program speaks: `--lang`, TOKENWALK_LANG, config.toml, the locale; else English."""

from pathlib import Path

import pytest

from core import language
from core.errors import UserError
from tui import config_file, languages, settings
from tui.wording import spell


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No language is chosen; returns the path of config.toml."""
    for variable in (languages.VARIABLE, "LANGUAGE", *languages.LOCALE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(config_file, "path", lambda: tmp_path / "config.toml")
    monkeypatch.setattr(settings, "path", lambda: tmp_path / "config.toml")
    return tmp_path / "config.toml"


@pytest.mark.parametrize(
    ("variables", "spoken"),
    [
        ({}, "en"),
        ({"LANG": "vi_VN.UTF-8"}, "vi"),
        ({"LANG": "vi"}, "vi"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
        ({"LANG": "vi_VN", "LC_MESSAGES": "en_GB"}, "en"),
        ({"LANG": "en_GB", "LC_MESSAGES": "vi_VN"}, "vi"),
        ({"LANG": "vi_VN", "LC_MESSAGES": "vi_VN", "LC_ALL": "C"}, "en"),
        ({"LANG": "vi_VN", "LANGUAGE": "en:vi"}, "en"),
        ({"LANG": "en_US", "LANGUAGE": "fr:vi"}, "vi"),
        ({"LANG": "C.UTF-8", "LANGUAGE": "vi"}, "en"),
        ({"LANG": "vi_VN", languages.VARIABLE: "en"}, "en"),
        ({"LANG": "en_US", languages.VARIABLE: "vi"}, "vi"),
        ({"LANG": "vi_VN", languages.VARIABLE: ""}, "vi"),
    ],
)
def test_the_environment_chooses(variables: dict[str, str], spoken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert languages.choose(["next", "hi"]) == ["next", "hi"]
    assert language.spoken() == spoken


@pytest.mark.parametrize(
    ("arguments", "rest"),
    [
        (["--lang", "vi", "next", "hi"], ["next", "hi"]),
        (["next", "hi", "--lang=vi", "-k", "3"], ["next", "hi", "-k", "3"]),
        (["next", "--lang", "en", "--lang", "vi_VN.UTF-8"], ["next"]),
        (["--lang", "vi", "--", "--lang", "en"], ["--", "--lang", "en"]),
    ],
)
def test_the_option_is_taken_out(arguments: list[str], rest: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(languages.VARIABLE, "en")
    assert languages.choose(arguments) == rest
    assert language.spoken() == "vi"


def test_the_setting_comes_before_the_locale(nothing_chosen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    nothing_chosen.write_text('language = "vi"')
    languages.choose([])
    assert language.spoken() == "vi"
    monkeypatch.setenv(languages.VARIABLE, "en")
    languages.choose([])
    assert language.spoken() == "en"


@pytest.mark.parametrize("value", ['"fr"', "3", '""'])
def test_a_wrong_setting_is_reported_and_the_locale_decides(
    value: str, nothing_chosen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "vi_VN.UTF-8")
    nothing_chosen.write_text(f"language = {value}")
    languages.choose([])
    assert language.spoken() == "vi"
    (problem,) = settings.load()[1]
    assert "language" in str(problem)
    assert "en, vi" in str(problem)


@pytest.mark.parametrize("arguments", [["--lang", "fr"], ["--lang"], ["--lang="], ["next", "--lang", "\x1b[2J"]])
def test_an_unknown_language_is_an_error_that_names_those_there_are(arguments: list[str]) -> None:
    with pytest.raises(UserError) as raised:
        languages.choose(arguments)
    line = spell(raised.value, str)
    assert "--lang" in line
    assert "choose from en, vi" in line


def test_an_unknown_language_of_the_variable_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(languages.VARIABLE, "klingon")
    with pytest.raises(UserError, match="TOKENWALK_LANG: there is no language 'klingon'; choose from en, vi"):
        languages.choose([])


def test_programs_that_are_started_speak_the_language_of_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(languages.VARIABLE, "en")
    languages.choose(["--lang", "vi"])
    languages.choose([])
    assert language.spoken() == "vi"

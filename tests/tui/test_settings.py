"""The settings file: its values, its defaults, and one line for each error."""

from pathlib import Path

import pytest

from tui import settings
from tui.settings import Settings


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "path", lambda: tmp_path / "config.toml")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    return tmp_path / "config.toml"


def test_without_a_file_there_are_the_defaults(file: Path) -> None:
    assert settings.load() == (Settings(), ())


def test_a_good_file_is_read(file: Path) -> None:
    file.write_text('theme = "nord"\nfps = 20\n[keys]\n"walk.step" = "f5"\n')
    assert settings.load() == (Settings("nord", 20, {"walk.step": "f5"}), ())


def test_plain_lines_can_be_the_setting(file: Path) -> None:
    file.write_text("plain = true\n")
    assert settings.load() == (Settings(plain=True), ())


def test_what_a_file_leaves_out_keeps_its_default(file: Path) -> None:
    file.write_text("fps = 3\n")
    assert settings.load() == (Settings(fps=3), ())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("theme = ", "cannot be read"),
        ("colour = 'red'", "colour"),
        ("fps = 'fast'", "fps"),
        ("fps = 0", "fps"),
        ("fps = 61", "fps"),
        ("fps = 2.5", "fps"),
        ("fps = true", "fps"),
        ("theme = 3", "theme"),
        ("plain = 'yes'", "plain"),
        ("keys = 3", "keys"),
        ("[keys]\n'walk.fly' = 'x'", "walk.fly"),
        ("[keys]\n'walk.step' = 3", "walk.step"),
        ("[keys]\nwalk.step = 'x'", "keys"),
    ],
)
def test_an_error_names_the_file_and_what_is_wrong(file: Path, text: str, named: str) -> None:
    file.write_text(text)
    found, (problem,) = settings.load()
    assert found == Settings()
    assert str(file) in str(problem)
    assert named in str(problem)
    assert "\n" not in str(problem)


def test_every_wrong_entry_is_reported_and_the_others_are_used(file: Path) -> None:
    file.write_text('theme = "nord"\nfps = 0\nsize = 3\n[keys]\n"walk.fly" = "x"\n"walk.step" = "f5"\n')
    found, problems = settings.load()
    assert found == Settings("nord", keys={"walk.step": "f5"})
    assert [word in str(problem) for word, problem in zip(("size", "fps", "walk.fly"), problems, strict=True)] == [
        True
    ] * 3


def test_a_key_in_use_is_named_and_not_replaced(file: Path) -> None:
    file.write_text('[keys]\n"walk.step" = "n"\n')
    found, (problem,) = settings.load()
    assert found.keys == {}
    assert "walk.continuations" in str(problem)


def test_two_actions_may_exchange_their_keys(file: Path) -> None:
    file.write_text('[keys]\n"walk.step" = "n"\n"walk.continuations" = "space"\n')
    assert settings.load() == (Settings(keys={"walk.step": "n", "walk.continuations": "space"}), ())


def test_two_actions_with_one_new_key_are_both_named(file: Path) -> None:
    file.write_text('[keys]\n"walk.step" = "f5"\n"walk.continuations" = "f5"\n')
    found, problems = settings.load()
    assert found.keys == {}
    assert len(problems) == 2


@pytest.mark.parametrize("key", ["\\u001b]0;P\\u0007", "", "no key", "ctrl+", "n,\\u009b"])
def test_what_is_no_name_of_a_key_never_becomes_one(file: Path, key: str) -> None:
    file.write_text(f'[keys]\n"walk.step" = "{key}"\n')
    found, (problem,) = settings.load()
    assert found.keys == {}
    assert str(problem).isprintable()


@pytest.mark.parametrize("content", [b"theme = '\xff'", b"\xff\xfe\x00"])
def test_a_file_that_is_not_text_is_an_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    _, (problem,) = settings.load()
    assert "cannot be read" in str(problem)


def test_a_folder_of_that_name_is_an_error(file: Path) -> None:
    file.mkdir()
    _, (problem,) = settings.load()
    assert "is a folder, not a file" in str(problem)


def test_over_ssh_there_are_fewer_frames(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 50000 10.0.0.2 22")
    assert settings.load()[0].fps < Settings().fps
    file.write_text("fps = 30\n")
    assert settings.load()[0].fps == 30

"""The settings file: its values, its defaults, and one line for each error."""

from pathlib import Path

import pytest

from core.errors import UserError
from tui import settings
from tui.settings import Settings


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "path", lambda: tmp_path / "config.toml")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    return tmp_path / "config.toml"


def test_without_a_file_there_are_the_defaults(file: Path) -> None:
    assert settings.load() == Settings()


def test_a_good_file_is_read(file: Path) -> None:
    file.write_text('theme = "nord"\nfps = 20\n[keys]\n"walk.step" = "n"\n')
    assert settings.load() == Settings("nord", 20, {"walk.step": "n"})


def test_what_a_file_leaves_out_keeps_its_default(file: Path) -> None:
    file.write_text("fps = 3\n")
    assert settings.load() == Settings(fps=3)


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
        ("keys = 3", "keys"),
        ("[keys]\n'walk.fly' = 'x'", "walk.fly"),
        ("[keys]\n'walk.step' = 3", "walk.step"),
        ("[keys]\nwalk.step = 'x'", "keys"),
    ],
)
def test_an_error_names_the_file_and_what_is_wrong(file: Path, text: str, named: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError) as error:
        settings.load()
    assert str(file) in str(error.value)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"theme = '\xff'", b"\xff\xfe\x00"])
def test_a_file_that_is_not_text_is_an_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        settings.load()


def test_a_folder_of_that_name_is_an_error(file: Path) -> None:
    file.mkdir()
    with pytest.raises(UserError, match="is a folder, not a file"):
        settings.load()


def test_over_ssh_there_are_fewer_frames(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 50000 10.0.0.2 22")
    assert settings.load().fps < Settings().fps
    file.write_text("fps = 30\n")
    assert settings.load().fps == 30

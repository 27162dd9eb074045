"""The command line in Vietnamese: help and errors; what programs read stays English."""

import json
import subprocess
from collections.abc import Callable

import pytest
from typer.main import get_command

from tui.cli import app
from tui.commands.examples import EXAMPLES

Here = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_help_of_a_command_has_no_english_sentence(name: str, run_here: Here) -> None:
    """Only names, such as those of options, are the same in both languages."""
    english = get_command(app).commands[name]  # type: ignore[attr-defined]
    done = run_here(name, "--help", "--lang", "vi")
    text = " ".join(done.stdout.decode().split())
    assert (done.returncode, done.stderr) == (0, b"")
    assert text.startswith(f"Cách dùng: tokenwalk {name} ")
    for heading in (
        "Usage:",
        "Options:",
        "Arguments:",
        "Commands:",
        "[default:",
        "[required]",
        "Example:",
        "this message",
    ):
        assert heading not in text
    for words in (english.help, *(getattr(each, "help", None) for each in english.params)):
        assert not words or " ".join(words.split()) not in text
    assert f"Ví dụ: {EXAMPLES[name]}" in text


def test_help_lists_the_commands(run_here: Here) -> None:
    text = run_here("--lang", "vi", "--help").stdout.decode()
    assert "Xem một mô hình ngôn ngữ suy nghĩ, từng token một." in text
    assert "Lệnh:" in text
    assert "--lang LANGUAGE" in text
    assert "en, vi" in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("next", "hi", "-k", "x"), "Giá trị không hợp lệ của '-k': 'x' không phải số nguyên hợp lệ;"),
        (("next", "hi", "-k", "0"), "Giá trị không hợp lệ của '-k': 0 không nằm trong khoảng x>=1;"),
        (("next",), "Thiếu đối số 'prompt';"),
        (("next", "hi", "--modle", "x"), "Không có tùy chọn: --modle (Có thể là: --model)"),
        (("next", "hi", "-k"), "Tùy chọn '-k' cần một giá trị;"),
        (("next", "hi", "there"), "Thừa đối số (there)"),
        (("world", "music"), "world không in được 'music'; hãy chọn sample hoặc floors"),
    ],
)
def test_an_error_is_one_line_in_vietnamese(arguments: tuple[str, ...], line: str, run_here: Here) -> None:
    done = run_here("--lang", "vi", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith(f"tokenwalk: {line}")
    assert done.stderr.count(b"\n") == 1


def test_a_prompt_may_follow_the_language(run_here: Here) -> None:
    """`tokenwalk --lang vi PROMPT` opens the app, which needs a terminal."""
    done = run_here("--lang", "vi", "oat milk")
    assert done.returncode == 2
    assert "ứng dụng cần một terminal" in done.stderr.decode()


@pytest.mark.parametrize("arguments", [("models",), ("tokens", "oat milk")])
def test_json_is_the_same_in_both_languages(arguments: tuple[str, ...], run_here: Here) -> None:
    english, vietnamese = (run_here(*arguments, "--json", "--lang", name).stdout for name in ("en", "vi"))
    assert english == vietnamese
    assert json.loads(english.splitlines()[0])


def test_an_error_beside_json_is_english(run_here: Here) -> None:
    done = run_here("lens", "oat", "hi", "--json", "--lang", "vi")
    assert b"there is no lens 'oat'" in done.stderr

"""The command line and the app in a pseudo-terminal: which packages are imported, and that the terminal is restored."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from terminals import PATIENCE, Terminal, restored

from core.sessions.reader import read_record

SOON = 3.0
"""Seconds within which the app must end; 0.3 is usual, the rest is for a busy machine."""
HEAVY = ("torch", "textual", "tiktoken", "plotext")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def imported_by(*arguments: str, code: int = 0) -> set[str]:
    """The slow packages that a command has imported when it ends with an exit code."""
    script = (
        "import sys\nfrom tui.cli import main\n"
        f"try:\n    main()\nexcept SystemExit as end:\n    assert (end.code or 0) == {code}\n"
        f"sys.stderr.write(' '.join(name for name in {HEAVY} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.splitlines()[-1].split()) if done.stderr else set()


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("generate", "--help"), ("compare", "--help"), ("walk", "-h"), ("--version",)],
    ids=" ".join,
)
def test_help_imports_no_slow_package(arguments: tuple[str, ...]) -> None:
    assert imported_by(*arguments) == set()


def test_models_are_listed_without_torch_and_without_a_screen() -> None:
    assert imported_by("models") <= {"tiktoken"}


@pytest.mark.parametrize("arguments", [("tokens", "oat milk"), ("models",)], ids=" ".join)
def test_tokens_and_models_need_no_torch_and_no_screen(arguments: tuple[str, ...]) -> None:
    assert imported_by(*arguments) <= {"tiktoken"}


@pytest.mark.parametrize("name", ["nowhere/model.gguf", "no model"])
def test_a_model_that_does_not_exist_is_refused_before_torch_is_imported(name: str) -> None:
    assert imported_by("next", "oat milk", "--model", name, code=2) <= {"tiktoken"}


def test_the_version_is_the_installed_one() -> None:
    done = run("--version")
    assert (done.stdout, done.stderr, done.returncode) == (f"tokenwalk {version('tokenwalk')}\n", "", 0)


def test_help_names_every_command_and_option() -> None:
    done = run("--help")
    names = ("generate", "next", "tokens", "lens", "score", "compare", "bench", "models", "devices", "replay", "export")
    for command in names:
        assert command in done.stdout
    options = run("generate", "--help").stdout
    for option in (
        "--model",
        "--device",
        "--dtype",
        "--weights-seed",
        "--embed-dim",
        "--context",
        "--blocks",
        "--heads",
    ):
        assert option in options
    for option in (
        "--activation",
        "--tokenizer",
        "--temperature",
        "--top-k",
        "--top-p",
        "--seed",
        "--samples",
        "--json",
    ):
        assert option in options


@pytest.fixture
def slow_torch(tmp_path: Path) -> dict[str, str]:
    """The environment in which the import of `torch` never ends."""
    (tmp_path / "torch.py").write_text("import time\nwhile True:\n    time.sleep(0.01)\n")
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}


def test_a_prompt_is_typed_and_walked_and_the_terminal_is_restored(terminal: Callable[..., Terminal]) -> None:
    app = terminal("--tokenizer", "bytes")
    app.until(b"others")
    assert b"\x1b[?1049h" in app.written
    app.press("oat q字".encode())
    app.until(b"WRITE")
    app.until("字".encode())
    app.press(b"\r ")  # enter and space at once, as a slow link may deliver them
    app.until(b"1 generated")
    app.press(b"q")
    assert app.ended() == 0
    assert restored(app)


def test_without_options_the_app_opens_a_trained_model(terminal: Callable[..., Terminal]) -> None:
    app = terminal("I prefer oat milk in", new=True)
    app.until(b"model5-trained")
    app.until("KL(true‖model)".encode())
    app.press(b"g")
    app.until(b"30 generated")
    app.press(b"q")
    assert app.ended() == 0


def test_control_codes_never_reach_the_terminal_and_q_quits_at_once(
    terminal: Callable[..., Terminal],
) -> None:
    hostile = "\x1b]52;c;aGVsbG8=\x07\x1b[3J\x1b]0;stolen\x07\u202e\x9b5n"
    app = terminal(hostile, "--tokenizer", "bytes", "-n", "100000000")
    app.until(b"others")
    app.press(b"g")
    app.until("▶".encode())
    app.until(b"generated")
    began = time.perf_counter()
    app.press(b"q")
    assert app.ended() == 0
    assert time.perf_counter() - began < SOON
    assert restored(app)
    for command in (b"\x1b]52", b"\x1b[3J", b"\x1b]0;stolen", "\u202e".encode(), "\x9b".encode()):
        assert command not in app.written


def test_the_app_paints_and_quits_before_torch_is_imported(
    terminal: Callable[..., Terminal], slow_torch: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "tokenwalk").mkdir()
    (tmp_path / "tokenwalk" / "config.toml").write_text("fps = 'fast'\n")
    app = terminal("oat milk", new=True, **slow_torch)
    for text in ("next token", "oat milk", "loading", "fps"):
        app.until(text.encode())
    began = time.perf_counter()
    app.press(b"q")
    assert app.ended() == 0
    assert time.perf_counter() - began < SOON
    assert restored(app)
    assert "Traceback" not in app.text


def test_a_prompt_through_standard_input_opens_the_app(
    terminal: Callable[..., Terminal], slow_torch: dict[str, str]
) -> None:
    app = terminal("-", stdin=b"oat milk", new=True, **slow_torch)
    app.until(b"oat milk")
    app.press(b"q")
    assert app.ended() == 0
    assert restored(app)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_restores_the_terminal_and_saves_the_walk(
    terminal: Callable[..., Terminal], tmp_path: Path, number: signal.Signals
) -> None:
    app = terminal("oat milk", "--tokenizer", "bytes", "-n", "100000000")
    app.until(b"others")
    app.press(b"g")
    app.until(b"generated")
    app.process.send_signal(number)
    assert app.ended() == 128 + number
    assert restored(app)
    assert "Traceback" not in app.text
    (saved,) = tmp_path.rglob("*oat-milk.json")
    assert len(read_record(saved).path()) > len("oat milk")


def test_a_terminal_that_goes_away_ends_the_app_and_the_walk_is_saved(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    """As when its window is closed while tokens stream: nothing waits for output that nobody takes."""
    app = terminal("oat milk", "--tokenizer", "bytes", "-n", "100000000")
    app.until(b"others")
    app.press(b"g")
    app.until(b"generated")
    app.vanish()
    assert app.process.wait(PATIENCE) in (128 + signal.SIGHUP, 128 + signal.SIGTERM)
    (saved,) = tmp_path.rglob("*oat-milk.json")
    assert len(read_record(saved).path()) > len("oat milk")

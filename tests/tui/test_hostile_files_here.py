"""Files and streams made to hang, crash or fill the memory: by the commands, and in the list of models of the app."""

import io
import json
import os
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import OptionList

from core.errors import UserError
from tui import config_file
from tui.app import TokenwalkApp
from tui.cli import main

Here = Callable[..., Any]
Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
BYTES = ("--tokenizer", "bytes", "--device", "cpu")


@pytest.fixture
def hostile_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files and folders in the working folder that cannot be loaded."""
    monkeypatch.chdir(tmp_path)

    def pair(key: bytes, type_number: int, value: bytes) -> bytes:
        return struct.pack("<Q", len(key)) + key + struct.pack("<I", type_number) + value

    llama = pair(b"general.architecture", 8, struct.pack("<Q", 5) + b"llama")
    other = pair(b"general.architecture", 8, struct.pack("<Q", 9) + b"\x1b]0;X\x07[b")
    for name, pairs in {
        "zero": (llama, pair(b"general.alignment", 4, bytes(4))),
        "huge": (llama, pair(b"general.alignment", 10, struct.pack("<Q", 2**63))),
        "nested": (llama, pair(b"x", 9, struct.pack("<IQ", 9, 1) * 100_000)),
        "other": (other,),
    }.items():
        head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs))
        Path(f"{name}.gguf").write_bytes(head + b"".join(pairs) + bytes(100))
    for name, config in {
        "deep": "[" * 100_000,
        "blocks": json.dumps({"model_type": "llama", "num_hidden_layers": 10**6}),
        "number": '{"model_type": 7}',
    }.items():
        Path(name).mkdir()
        Path(name, "config.json").write_text(config)
        Path(name, "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    return [f".{os.sep}{path.name}" for path in sorted(tmp_path.iterdir())]


def test_the_list_of_models_has_them_with_their_problems(hostile_folder: list[str], run_here: Here) -> None:
    done = run_here("models", "--json")
    assert done.returncode == 0
    found = {line["name"]: line for line in map(json.loads, done.stdout.decode().splitlines())}
    assert all(found[name]["problem"] for name in hostile_folder)
    plain = run_here("models").stdout
    assert b"\x1b" not in plain
    assert all(name.encode() in plain for name in hostile_folder)


async def test_the_app_lists_them_and_goes_on(hostile_folder: list[str], real: Make, settle: Go, press: Go) -> None:
    async with real("oat milk", count=5).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "m")
        options = pilot.app.screen.query_one(OptionList)
        shown = "\n".join(str(options.get_option_at_index(n).prompt) for n in range(options.option_count))
        assert all(name in shown for name in hostile_folder)
        await pilot.press("end", "enter", "escape")
        await press(pilot, "space")
        assert len(pilot.app.frame.snapshot.tokens) == 9


@pytest.mark.parametrize("command", ["score", "next", "replay", "train"])
def test_a_pipe_is_refused_and_not_waited_for(command: str, tmp_path: Path, run_here: Here) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    arguments = {
        "score": ("score", str(path), *BYTES),
        "next": ("next", "a", "--model", str(path)),
        "replay": ("replay", str(path)),
        "train": ("train", "--model", "model5", "--text", str(path), "--out", str(tmp_path / "out")),
    }[command]
    start = time.perf_counter()
    done = run_here(*arguments)
    assert time.perf_counter() - start < 5
    assert done.returncode == 2
    assert len(done.stderr.decode().splitlines()) == 1
    assert str(path) in done.stderr.decode()


class Endless(io.RawIOBase):
    """Letters without end."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = b"y" * len(buffer)
        return len(buffer)


@pytest.mark.parametrize("command", ["tokens", "score", "next"])
def test_standard_input_without_end_is_refused(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tokenwalk", command, "-", *BYTES[: 2 if command == "tokens" else 4]])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless())))
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "standard input has more than 64,000,000 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_a_walk_is_not_saved_over_what_is_no_file(kind: str, tmp_path: Path, run_here: Here) -> None:
    """Refused before anything is generated; it stays what it was."""
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")
    before = path.stat().st_mode
    done = run_here("generate", "a", "-n", "1", "--save", str(path), *BYTES)
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"is a {kind}, not a file" in done.stderr.decode()
    assert path.stat().st_mode == before


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("command", ["train", "next"])
def test_sizes_beyond_all_memory_are_refused(command: str, blocks: bool, tmp_path: Path, run_here: Here) -> None:
    """A context by what it takes, which for a training is more; a million blocks by their number, however small."""
    arguments = {"train": ("train", "--out", str(tmp_path / "out")), "next": ("next", "a")}[command]
    context = {"train": "10000000", "next": "10000000000"}[command]
    size = ("--blocks", "1000000", "--embed-dim", "4") if blocks else ("--context", context)
    start = time.perf_counter()
    done = run_here(*arguments, "--model", "model5", *size)
    assert time.perf_counter() - start < 10
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert ("the number of blocks must be from 0 to 1000" if blocks else "GB") in line
    assert not (tmp_path / "out").exists()


def test_a_session_that_asks_for_a_million_blocks_is_refused(tmp_path: Path, run_here: Here) -> None:
    """Also where one block is small."""
    saved = tmp_path / "walk.json"
    assert run_here("generate", "a", "-n", "2", "--model", "model5", *BYTES, "--save", str(saved)).returncode == 0
    values = json.loads(saved.read_text())
    (model,) = values["models"]
    model["choice"]["changes"] |= {"blocks": 10**6, "embed_dim": 4, "heads": 1}
    saved.write_text(json.dumps(values))
    start = time.perf_counter()
    done = run_here("replay", str(saved))
    assert time.perf_counter() - start < 2
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert "1000000" in line.replace(",", "")


@pytest.mark.parametrize("content", ["[" * 100_000, "a = " + "[" * 100_000, "a = " + "{b = " * 50_000, "x" * 1_000_001])
def test_a_configuration_made_to_hang_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(content)
    start = time.perf_counter()
    with pytest.raises(UserError, match=r"config\.toml") as caught:
        config_file.read(tmp_path / "config.toml")
    assert time.perf_counter() - start < 2
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500

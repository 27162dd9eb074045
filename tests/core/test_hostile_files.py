"""Files made to hang, crash or fill the memory of a reader are user errors of one line, at once."""

import os
import struct
import time
from pathlib import Path

import pytest
from hostile_files import ARCHITECTURE, DEEP, FOLDERS, GGUF, array, folder, gguf, pair

from core.errors import UserError
from core.loading import description, listing
from core.loading.choice import ModelChoice
from core.loading.models import load_model

SECONDS = 2.0


def refused(path: Path, says: str) -> None:
    """Both by the whole way to a model and by its description alone, which reads all tables."""
    for act in (lambda: load_model(ModelChoice(name=str(path), device="cpu")), lambda: description.describe(path)):
        start = time.perf_counter()
        with pytest.raises(UserError) as caught:
            act()
        assert time.perf_counter() - start < SECONDS
        text = str(caught.value)
        assert len(text.splitlines()) == 1
        assert len(text) < 500
    assert says in text


@pytest.mark.parametrize("name", GGUF)
def test_a_hostile_gguf_file_is_refused(name: str, tmp_path: Path) -> None:
    content, says = GGUF[name]
    (tmp_path / "m.gguf").write_bytes(content)
    refused(tmp_path / "m.gguf", says)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_hostile_folder_is_refused(name: str, tmp_path: Path) -> None:
    arguments, says = FOLDERS[name]
    folder(tmp_path / "m", **arguments)
    refused(tmp_path / "m", says)


def test_an_array_in_a_sparse_file_is_not_walked(tmp_path: Path) -> None:
    """2^27 empty strings in 2 GB that take no place on the disk."""
    with (tmp_path / "m.gguf").open("wb") as file:
        file.write(gguf(ARCHITECTURE, pair("x", 9, array(8, 2**27))))
        file.truncate(2**31)
    refused(tmp_path / "m.gguf", "corrupt")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_deep_tokenizer_file_is_refused(name: str, tmp_path: Path) -> None:
    folder(tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}, "merges": []}}')
    (tmp_path / "m" / name).write_text(DEEP)
    with pytest.raises(UserError) as caught:
        load_model(ModelChoice(name=str(tmp_path / "m"), device="cpu"))
    assert len(str(caught.value).splitlines()) == 1


def test_the_list_of_models_names_the_problem_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing reads only the beginning of a GGUF file; what it finds there is named."""
    monkeypatch.chdir(tmp_path)
    for number, (content, _) in enumerate(GGUF.values()):
        Path(f"{number}.gguf").write_bytes(content)
    for number, (arguments, _) in enumerate(FOLDERS.values()):
        folder(Path(f"f{number}"), **arguments)
    start = time.perf_counter()
    found = {offer.name: offer for offer in listing.offers() if offer.description == "in the working folder"}
    assert time.perf_counter() - start < SECONDS
    assert len(found) == len(GGUF) + len(FOLDERS)
    for offer in found.values():
        assert offer.problem
        assert offer.family.isprintable()
        assert len(offer.problem.splitlines()) == 1


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "socket"])
def test_what_is_not_a_file_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    """As weights, as config.json; by what it is."""
    (tmp_path / "m").mkdir()
    for path in (tmp_path / "w.gguf", tmp_path / "m" / "config.json"):
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "folder":
            path.mkdir()
        else:
            import socket

            with socket.socket(socket.AF_UNIX) as made:
                made.bind(os.path.relpath(path))
    if kind != "folder":  # a folder may be a model
        refused(tmp_path / "w.gguf", f"is a {kind}, not a file")
    refused(tmp_path / "m", f"is a {kind}, not a file")


def test_a_negative_size_in_a_header_is_refused(tmp_path: Path) -> None:
    """Ranges and shapes below zero."""
    folder(tmp_path / "m", header='{"a": {"dtype": "U8", "shape": [-4], "data_offsets": [0, -4]}}')
    path = tmp_path / "m" / "model.safetensors"
    path.write_bytes(path.read_bytes() + struct.pack("<Q", 0))
    refused(tmp_path / "m", "corrupt")

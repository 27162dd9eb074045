"""Reading is bounded and waits for no pipe; writing replaces files only, by a new name that nothing has."""

import io
import os
import stat
from pathlib import Path

import pytest
import torch

from core import atomic, bounded
from core.atomic import replacing
from core.engine import device, memory
from core.engine.config import ModelConfig
from core.errors import UserError
from core.loading import room
from core.sessions import writer
from core.training.room import needed


class Endless(io.RawIOBase):
    """A stream without end, which counts what is read of it."""

    taken = 0

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "a read without a limit"
        self.taken += size
        return b"y" * size


def test_a_stream_without_end_is_refused_after_its_limit() -> None:
    stream = Endless()
    with pytest.raises(UserError, match="standard input has more than 3,000,000 bytes"):
        bounded.read_stream(stream, "standard input", 3_000_000)
    assert stream.taken == 3_000_001


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert bounded.read_file(path, 5) == b"12345"
    with pytest.raises(UserError, match="more than 4 bytes"):
        bounded.read_file(path, 4)
    with pytest.raises(FileNotFoundError):
        bounded.read_file(tmp_path / "none")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_not_a_file_is_not_replaced(kind: str, tmp_path: Path) -> None:
    """A pipe, a device behind a link, a folder: each stays what it is."""
    path = tmp_path / "x"
    {"pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/null"), "folder": Path.mkdir}[kind](path)
    before = path.stat().st_mode
    with pytest.raises(UserError, match=f"is a {kind}, not a file, so it is not replaced"):
        with replacing(path) as file:
            file.write(b"x")
    assert path.stat().st_mode == before
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_a_temporary_file_has_a_new_name_and_follows_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its name is taken by a link, the write fails and the link's target stays."""
    target = tmp_path / "target"
    target.write_bytes(b"old")
    names = []
    for _ in range(2):
        with replacing(tmp_path / "x") as file:
            names.append(Path(file.name).name if isinstance(file.name, str) else next(tmp_path.glob(".*.tmp")).name)
    assert len(set(names)) == 2
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda count: "0")
    (tmp_path / ".tokenwalk-0.tmp").symlink_to(target)
    with pytest.raises(UserError, match="cannot be written"):
        with replacing(tmp_path / "x") as file:
            file.write(b"new")
    assert target.read_bytes() == b"old"


def test_sessions_are_for_their_owner_alone(tmp_path: Path) -> None:
    """A new one; one that a person has opened to others stays so."""
    from records import plain

    path = tmp_path / "walk.json"
    writer.write_record(path, plain())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    writer.write_record(path, plain())
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


# Memory ---------------------------------------------------------------------------------------------------------------


def test_what_is_available_is_no_more_than_the_limit_of_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less what is used, without pages of files, which can be dropped; a group without a limit limits nothing."""
    whole = memory.available()
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 1000000\nfile 7\n")
    monkeypatch.setattr(memory.cgroups, "folders", lambda _: [(tmp_path, 2), (tmp_path / "none", 2)])
    assert memory.available() == 3_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert whole is not None
    assert memory.available() == pytest.approx(whole, rel=0.5)


def test_memory_that_is_in_use_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sizes are in the error."""
    monkeypatch.setattr(device, "_cpu_memory", lambda: 20_000_000_000)
    monkeypatch.setattr(memory, "available", lambda: 3_000_000_000)
    room.check_room("it", 2.9e9, torch.device("cpu"), ("try another",))
    with pytest.raises(UserError) as caught:
        room.check_room("it", 3.1e9, torch.device("cpu"), ("try another",))
    assert str(caught.value) == "it needs 3.1 GB of memory, but cpu has 20.0 GB, 3.0 GB of it available; try another"


def test_a_training_needs_at_least_what_torch_allocates() -> None:
    """The bound is below the tensors that autograd keeps, and above half of them; here for GPT-2's blocks."""
    from core.engine.model import random_model

    config = ModelConfig(
        vocab_size=97, embed_dim=48, context=64, blocks=3, heads=4, positions="learned", norm="layer", pre_norm=True,
        feed_forward=True, final_activation=False, tied=True,
    )  # fmt: skip
    model, kept = random_model(config, 0).requires_grad_(True), {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(torch.zeros(8, 64, dtype=torch.long)).sum()
    weights = {each.data_ptr() for each in model.parameters()}
    inside = sum(each.untyped_storage().nbytes() for address, each in kept.items() if address not in weights)
    total = 4 * 4 * model.parameter_count() + inside + 2 * 4 * 8 * 64 * 97
    assert 0.5 * total < needed(config, 8) <= total
    loss.backward()

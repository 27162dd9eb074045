"""Writing the file of a walk leaves the old or the new one, never half; the folder of sessions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from records import plain, text_of

from core.errors import UserError
from core.generation.token import Token
from core.sessions import reader, storage, writer
from core.sessions.record import NodeRow

# Writing --------------------------------------------------------------------------------------------------------------


def test_writing_keeps_permissions_and_follows_links(tmp_path: Path) -> None:
    real, link = tmp_path / "walk.json", tmp_path / "link.json"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    writer.write_record(link, plain())
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert reader.read_record(link).rows == plain().rows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "walk.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "walk.json"
    writer.write_record(path, plain())
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        writer.write_record(path, plain(cursor=1))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["walk.json"]
    with pytest.raises(UserError, match="cannot be written"):
        writer.write_record(tmp_path / "none" / "walk.json", plain())


KILLED = """
import os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
from core.sessions import reader, record, writer

path = Path(sys.argv[1])
old = replace(reader.read_record(path), written="", program="")
new = replace(old, cursor=1)
numbers, kills, seen, left = random.Random(7), 0, set(), 0
while kills < 120 or len(seen) < 2 or left <= 10:  # on a busy machine some never come to write
    kills += 1
    child = os.fork()
    if not child:
        while True:
            for each in (new, old):
                writer.write_record(path, each)
    time.sleep(numbers.uniform(0.0005, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = replace(reader.read_record(path), written="", program="")
    assert found in (old, new)
    seen.add(found.cursor)
    for temporary in path.parent.glob(".*.tmp"):
        temporary.unlink()
        left += 1
"""


def test_a_write_killed_at_any_moment_leaves_the_last_good_file(tmp_path: Path) -> None:
    """A writer that never rests is killed 120 times; the file is each time one of the two it writes, whole.

    More often, until each was found and some were killed while they wrote.
    """
    rows = [NodeRow(0, Token(97, b"a"))] + [NodeRow(n, plain().rows[1].token) for n in range(1, 60)]
    path = tmp_path / "walk.json"
    writer.write_record(path, plain(rows=tuple(rows), end=60, cursor=60))
    command = [sys.executable, "-c", KILLED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


# The folder -----------------------------------------------------------------------------------------------------------


def test_the_folder_belongs_to_its_owner_and_lists_the_newest_first(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "sessions"
    storage.prepare(folder)
    storage.prepare(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(UserError, match="no saved session"):
        storage.newest(folder)
    for number, name in enumerate(("one.json", "two.json", "broken.json", "note.txt")):
        (folder / name).write_text("{" if name == "broken.json" else text_of(plain()))
        os.utime(folder / name, (1e9 + number, 1e9 + number))
    broken, two, one = storage.saved_sessions(folder)
    assert (two.path.name, two.prompt, two.model, two.tokens, two.branches) == (
        "two.json",
        "a",
        "model1 cpu fp32",
        3,
        2,
    )
    assert (one.path.name, one.problem) == ("one.json", None)
    assert broken.problem
    assert "ends too early" in broken.problem
    assert storage.newest(folder).name == "broken.json"


def test_temporary_files_of_a_killed_write_are_removed_later(tmp_path: Path) -> None:
    for name, age in ((".old.json.1.tmp", 1e9), (".new.json.2.tmp", None)):
        (tmp_path / name).touch()
        if age:
            os.utime(tmp_path / name, (age, age))
    storage.prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".new.json.2.tmp"]


def test_two_processes_never_get_one_file(tmp_path: Path) -> None:
    """Both may find the name unused at the same time."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom core.sessions import storage\n"
        "print(*(storage.reserve(Path(sys.argv[1]), 'oat').name for _ in range(40)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    names = " ".join(each.communicate()[0] for each in processes).split()
    assert len(set(names)) == 80
    assert storage.saved_sessions(tmp_path) == []
    for name in names:
        storage.released(tmp_path / name)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("I prefer oat milk in", "i-prefer-oat-milk-in"),
        ("../../etc/passwd\x00\x1b[2J\n", "etc-passwd-2j"),
        ("", "walk"),
        ("字" * 300, "字" * 40),
        ("-- --", "walk"),
    ],
)
def test_file_names_hold_the_time_and_the_prompt(prompt: str, words: str, tmp_path: Path) -> None:
    first = storage.free(tmp_path, prompt)
    assert first.parent == tmp_path
    assert first.name[18:] == f"{words}.json"
    assert len(os.fsencode(first.name)) < 200
    first.touch()
    second = storage.free(tmp_path, prompt)
    assert second != first

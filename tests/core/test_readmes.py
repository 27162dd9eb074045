"""The README of each folder is short, names files that exist, and its example runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(
    path.parent for package in ("core", "tui") for path in (ROOT / package).rglob("__init__.py") if path.parent != ROOT
)
CORE = [folder for folder in FOLDERS if folder.is_relative_to(ROOT / "core")]
WITHOUT = {"core/engine/packed/kernels"}
"""Described by the folder above."""


def name(folder: Path) -> str:
    return folder.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if name(folder) not in WITHOUT], ids=name)
def test_a_folder_has_a_short_readme(folder: Path) -> None:
    limit = 60 if folder.parent == ROOT else 40  # core's holds the glossary
    assert len((folder / "README.md").read_text(encoding="utf-8").splitlines()) <= limit


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if name(folder) not in WITHOUT], ids=name)
def test_a_readme_names_files_that_exist(folder: Path) -> None:
    """Inside the folder, below `tests`, or by a path from the root, `core` or `tui`."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    for file in re.findall(r"`([a-z0-9_/]+\.(?:py|md|tcss))`", text):
        found = [*folder.rglob(file), *(ROOT / "tests").rglob(file)]
        assert found or any((ROOT / part / file).exists() for part in ("", "core", "tui")), file


@pytest.mark.parametrize("folder", [folder for folder in CORE if name(folder) not in WITHOUT], ids=name)
def test_the_example_of_a_readme_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(folder / "README.md"), "exec"), {"__name__": "example"})

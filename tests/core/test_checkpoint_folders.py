"""Names of own trainings and of their checkpoints by step."""

from pathlib import Path

import pytest

from core.loading.checkpoints import folders


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(folders, "home", lambda: tmp_path)
    return tmp_path


def created(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).touch()
    return folder / name


def test_a_checkpoint_is_named_by_its_step(home: Path) -> None:
    latest = created(home / "model5-world", folders.LATEST)
    step = created(home / "model5-world", folders.STEP.format(350))
    assert folders.find("model5-world") == latest
    assert folders.find("model5-world@350") == folders.find("model5-world@0350") == step
    assert folders.name(step) == "model5-world@350"


def test_other_checkpoints_are_named_by_their_path(home: Path) -> None:
    for path in (
        created(home / "a", folders.LATEST),
        created(home / "a" / "b", folders.STEP.format(1)),
        Path("x.safetensors"),
    ):
        assert folders.name(path) == str(path)


@pytest.mark.parametrize(
    "name",
    ["model5-world@51", "model5-world@", "@50", "model5-world@-1", "model5-world@²", "../x@50", "a/b@1", ".@1", ""],
)
def test_names_of_another_form_find_nothing(home: Path, name: str) -> None:
    created(home / "model5-world", folders.STEP.format(50))
    assert folders.find(name) is None


def test_a_training_named_like_a_step_comes_first(home: Path) -> None:
    whole = created(home / "x@1", folders.LATEST)
    created(home / "x", folders.STEP.format(1))
    assert folders.find("x@1") == whole

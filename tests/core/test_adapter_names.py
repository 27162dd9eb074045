"""LoRA adapters by their names on the Hugging Face Hub: from the cache, or fetched when they are asked for."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from core.errors import UserError
from core.loading import hub
from core.loading.adapters import files
from core.loading.choice import ModelChoice
from core.loading.models import load_model


def put(cache: Path, id: str, adapter: Path) -> Path:
    """An adapter in the cache layout of huggingface_hub."""
    repository = cache / f"models--{id.replace('/', '--')}"
    folder = repository / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    for file in adapter.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_one_in_the_cache_is_used_under_its_name(
    cache: Path, chat_model: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fetched."""
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    folder = put(cache, "maker/oat", adapter)
    assert files.named("maker/oat") == "maker/oat"
    assert files.locate("maker/oat") == folder
    assert list(hub.all_cached_adapters()) == [("maker/oat", folder)]
    assert list(hub.all_cached()) == []
    by_id, by_path = (
        load_model(ModelChoice(name=str(chat_model), device="cpu", dtype="fp32", lora=name))
        for name in ("maker/oat", str(folder))
    )
    assert by_id.info.adapter == "oat"
    assert by_id.info.weights.endswith("with the LoRA oat")
    ids = [1, 2, 3]
    assert [_logits(model, ids) for model in (by_id,)] == [_logits(by_path, ids)]


def _logits(model: Any, ids: list[int]) -> list[float]:
    sequences = model.sequences()
    sequences.append([ids])
    ((distribution,),) = sequences.distributions([len(ids) - 1])
    return [distribution.score(id).logit for id in range(20)]


def test_one_that_is_not_there_is_fetched(
    cache: Path, chat_model: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the two files of an adapter."""
    asked: list[Any] = []

    def download(id: str, **options: Any) -> str:
        asked.append((id, options["revision"], options["allow_patterns"]))
        return str(put(cache, id, adapter))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert files.locate("maker/oat@v1") is None
    model = load_model(ModelChoice(name=str(chat_model), device="cpu", dtype="fp32", lora="maker/oat"))
    assert asked == [("maker/oat", "main", ["adapter_config.json", "adapter_model.safetensors"])]
    assert model.adapter


def test_what_cannot_be_had_is_one_line(
    cache: Path, chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No network; a repository without an adapter."""

    def unreachable(*_: Any, **__: Any) -> str:
        raise errors.LocalEntryNotFoundError("no network\nat all")

    choice = ModelChoice(name=str(chat_model), device="cpu", dtype="fp32", lora="maker/oat")
    (tmp_path / "empty").mkdir()
    for download, words in ((unreachable, "did not answer"), (lambda *_, **__: str(tmp_path / "empty"), "not a LoRA")):
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        with pytest.raises(UserError, match=words) as caught:
            load_model(choice)
        assert len(str(caught.value).splitlines()) == 1


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they look like a name of the Hub; a file that is missing stays a path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maker" / "oat").mkdir(parents=True)
    assert files.named("maker/oat") == str(tmp_path / "maker" / "oat")
    assert files.named("oat.gguf") == str(tmp_path / "oat.gguf")
    assert files.named("./oat") == str(tmp_path / "oat")


@pytest.mark.parametrize("name", ["~nobody-here/adapter", "x" * 300, "~/" + "x" * 300])
def test_a_name_that_no_file_can_have_is_answered(name: str) -> None:
    with pytest.raises(UserError, match="there is no adapter"):
        files.locate(files.named(name))

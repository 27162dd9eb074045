"""Checkpoints: what they hold, how they are written, and the models loaded from them."""

import errno
import hashlib
import json
import os
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import safetensors.torch
import torch
from checkpoint_files import CPU, RECIPE, SIZES, model_of, moments_of, refusal, world_card

from core.engine import device
from core.engine.info import DeviceInfo
from core.engine.model import random_model
from core.loading import catalog, listing, models, tokenizers
from core.loading.checkpoints import card as cards
from core.loading.checkpoints import checkpoint, folders
from core.loading.checkpoints.card import Card
from core.loading.checkpoints.folders import LATEST
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters, ModelChoice
from core.training.dataset import REFERENCE
from core.training.events import CheckpointSaved
from core.training.training import Training
from core.world import tiny


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "latest.safetensors"
    checkpoint.write_checkpoint(path, world_card(), model_of(world_card()))
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "tokenwalk" / "trained"


# What it holds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "card",
    [
        world_card(),
        world_card(Recipe(rung="model1", text="naïve 字/t.txt", vocabulary="bytes"), tokenizer="bytes", originals=()),
        world_card(floors=None, losses=(), command='quotes " and\nlines', loss=1e-300, step=10**12),
    ],
    ids=["world", "bytes", "bare"],
)
def test_card_weights_and_moments_are_read_as_written(card: Card, tmp_path: Path) -> None:
    """With versions and the hash of the weights; weights and moments are equal to the last bit."""
    model, path = model_of(card), tmp_path / "a.safetensors"
    moments = moments_of(model)
    checkpoint.write_checkpoint(path, card, model, moments)
    found = checkpoint.read_checkpoint(path)
    digest = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in model.parameters())).hexdigest()
    assert found.card == cards.read_card(path) == replace(card, program=found.card.program, weights_sha256=digest)
    for part in ("tokenwalk ", "torch ", "Python "):
        assert part in found.card.program
    filled = model_of(card, seed=2)
    found.fill(filled)
    for weight, other in zip(filled.parameters(), model.parameters(), strict=True):
        assert torch.equal(weight, other)
    assert found.moments.keys() == moments.keys()
    assert all(torch.equal(found.moments[name], tensor) for name, tensor in moments.items())
    assert found.tokenizer is card.load_tokenizer()
    assert found.config == model.config
    assert cards.summary(card).keys().isdisjoint({"originals", "losses"})
    json.dumps(cards.summary(card), allow_nan=False)


def test_the_safetensors_library_reads_a_checkpoint(file: Path) -> None:
    """A tied matrix is in it once."""
    weights = safetensors.torch.load_file(file)
    model = model_of(world_card())
    assert weights.keys() == {f"weights.{name}" for name, _ in model.named_parameters()}
    assert all(torch.equal(weights[f"weights.{name}"], weight) for name, weight in model.named_parameters())


def test_weights_can_have_16_bits(tmp_path: Path) -> None:
    card = world_card()
    for dtype in (torch.float16, torch.bfloat16):
        model = model_of(card).to(dtype)
        checkpoint.write_checkpoint(tmp_path / "a.safetensors", card, model)
        filled = model_of(card, seed=2)
        checkpoint.read_checkpoint(tmp_path / "a.safetensors").fill(filled)
        assert all(torch.equal(a, b.float()) for a, b in zip(filled.parameters(), model.parameters(), strict=True))


def test_the_origin_names_steps_corpus_and_loss() -> None:
    assert (
        world_card(step=1234).origin == "trained for 1,234 steps on the tiny world, loss 2.500, 1.800 above its floor"
    )


# Writing --------------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no temporary file beside it."""
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = refusal(lambda: checkpoint.write_checkpoint(file, world_card(step=61), model_of(world_card())))
    assert "No space left on device" in message
    assert file.read_bytes() == before
    assert [*file.parent.iterdir()] == [file]


def test_a_full_disk_leaves_the_earlier_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training can be resumed from them once there is room."""
    text = tmp_path / "text.txt"
    text.write_text(REFERENCE)
    recipe = Recipe(
        rung="model1", text=str(text), vocabulary="bytes", changes=Hyperparameters(context=4), steps=4, every=2
    )
    training = Training(recipe, tmp_path / "a", CPU)
    with monkeypatch.context() as patch:
        for event in training.run():
            if isinstance(event, CheckpointSaved):
                break
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        assert "No space left" in refusal(lambda: list(training.run()))
        assert {path.name for path in (tmp_path / "a").iterdir()} == {LATEST, "step-0000000.safetensors"}
    assert list(training.run())[-1].step == 4  # type: ignore[union-attr]
    assert checkpoint.read_checkpoint(tmp_path / "a" / LATEST).card.step == 4


def test_writing_into_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.safetensors"
    assert "cannot be written" in refusal(
        lambda: checkpoint.write_checkpoint(path, world_card(), model_of(world_card()))
    )


# As a model -----------------------------------------------------------------------------------------------------------

HERE: list[DeviceInfo] = [each for each in device.devices() if each.problem is None]


@pytest.mark.parametrize("name", [each.name for each in HERE])
@pytest.mark.parametrize("dtype", ["auto", "fp32", "bf16", "fp16"])
def test_a_checkpoint_loads_as_a_model_on_every_device(name: str, dtype: str, file: Path) -> None:
    """By its path, in every number format; its logits are those of its weights."""
    model = models.load_model(ModelChoice(name=str(file), device=name, dtype=dtype))
    exact = model_of(world_card())
    ids = torch.tensor([list(islice((id for text in tiny.texts(1) for id in text), 6))])
    found = model.transformer(ids.to(model.transformer.device))[0].float().cpu()
    assert torch.allclose(found, exact(ids)[0], atol={"bf16": 5e-2, "fp16": 5e-3}.get(dtype, 1e-5))
    assert model.info.dtype == {"auto": "fp32"}.get(dtype, dtype)
    assert (model.info.title, model.info.weights) == ("Llama", world_card().origin)
    assert (model.info.tokenizer, model.info.context, model.info.vocab_size) == ("world", 6, 825)


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_a_checkpoint_has_no_packed_formats(file: Path, dtype: str) -> None:
    assert "choose fp32, bf16 or fp16" in refusal(lambda: models.load_model(ModelChoice(name=str(file), dtype=dtype)))


def test_a_training_loads_by_its_name(file: Path, home: Path) -> None:
    """It has a folder under XDG_DATA_HOME; names with a path in them find nothing."""
    (home / "mine").mkdir(parents=True)
    (home / "mine" / LATEST).write_bytes(file.read_bytes())
    (home / "empty").mkdir()
    assert [name for name, _ in folders.trainings()] == ["mine"]
    (offer,) = (each for each in listing.offers() if each.name == "mine")
    assert (offer.family, offer.description, offer.problem) == ("Llama", world_card().origin, None)
    assert offer.size_bytes == file.stat().st_size
    assert models.load_model(ModelChoice(name="mine", device="cpu")).info.name == "mine"
    for wrong in ("empty", "nobody", "../trained/mine", ".", "", "mine/"):
        assert catalog.trained(wrong) is None
    assert "sizes, weights and tokenizer" in refusal(lambda: catalog.check(ModelChoice(name="mine", weights_seed=4)))


def test_the_twin_of_a_checkpoint_is_its_rung_before_training(file: Path, home: Path) -> None:
    """With the same sizes, the initial weights and the same tokenizer object. A rung has its shipped checkpoint."""
    trained = ModelChoice(name=str(file), device="cpu", dtype="bf16")
    plain = catalog.twin(trained)
    assert plain == ModelChoice(name="model6", tokenizer="world", changes=SIZES, device="cpu", dtype="bf16")
    one, other = models.load_model(trained), models.load_model(plain)
    assert one.tokenizer is other.tokenizer is catalog.tokenizer_of(trained) is catalog.tokenizer_of(plain)
    assert one.transformer.config == other.transformer.config
    first = random_model(one.transformer.config, RECIPE.seed).to(torch.bfloat16)
    assert all(torch.equal(a, b) for a, b in zip(other.transformer.parameters(), first.parameters(), strict=True))
    assert catalog.twin(ModelChoice(name="model2")) == ModelChoice(name="model2-trained")
    assert catalog.twin(ModelChoice(name="smollm2")) is None


def test_a_checkpoint_with_a_pruned_vocabulary_has_no_twin(tmp_path: Path) -> None:
    """No tokenizer name means its vocabulary. All models loaded from it share one tokenizer object."""
    text = tmp_path / "text.txt"
    text.write_text(REFERENCE)
    recipe = Recipe(rung="model1", text=str(text), changes=Hyperparameters(context=4, embed_dim=4), steps=1)
    list(Training(recipe, tmp_path / "a", CPU).run())
    choice = ModelChoice(name=str(tmp_path / "a" / LATEST), device="cpu")
    assert catalog.twin(choice) is None
    one, other = models.load_model(choice), models.load_model(replace(choice, dtype="bf16"))
    assert one.tokenizer is other.tokenizer
    assert one.tokenizer.name == "cl100k cut for text.txt"
    ids = one.tokenizer.encode(REFERENCE)
    assert [one.tokenizer.originals[id] for id in ids] == tokenizers.load_tokenizer("cl100k").encode(REFERENCE)

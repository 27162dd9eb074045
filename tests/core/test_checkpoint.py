"""Checkpoint files: their card, one line for damage and malice, and loading them as models."""

import errno
import hashlib
import json
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.engine import device
from core.engine.info import DeviceInfo
from core.engine.model import Transformer, random_model
from core.errors import UserError
from core.formats.tensors import WeightsFile
from core.loading import catalog, models, tokenizers
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
from core.world.automaton import Floors

CPU = torch.device("cpu")
FLOORS = Floors(unigram=4.9, last_token=1.9, context=0.7)
SIZES = Hyperparameters(embed_dim=8, context=6, blocks=1, heads=2)
RECIPE = Recipe(rung="model6", changes=SIZES, steps=90, lr=0.5, probe="oat 字")
Header = dict[str, Any]
Edit = Callable[[Header], object]


def world_card(recipe: Recipe = RECIPE, **more: Any) -> Card:
    tokenizer = tokenizers.load_tokenizer(tiny.NAME)
    given: dict[str, Any] = {
        "recipe": recipe, "step": 60, "loss": 2.5, "corpus": "the tiny world", "corpus_sha256": tiny.sha256(),
        "tokenizer": tokenizer.name, "originals": tokenizer.originals, "floors": FLOORS,
        "losses": ((0, 6.5), (60, 2.5)), "command": "tokenwalk train",
    }  # fmt: skip
    return Card(**given | more)


def model_of(card: Card, seed: int = 1) -> Transformer:
    return random_model(card.recipe.config(card.load_tokenizer().vocab_size), seed)


def moments_of(model: Transformer) -> dict[str, Tensor]:
    return {
        prefix + name: torch.full_like(weight, 0.5)
        for prefix in checkpoint.MOMENTS
        for name, weight in model.named_parameters()
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "latest.safetensors"
    checkpoint.write_checkpoint(path, world_card(), model_of(world_card()))
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "tokenwalk" / "trained"


def edited(path: Path, edit: Edit, name: str = "edited.safetensors") -> Path:
    """The same file with another header."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    edit(header)
    written = json.dumps(header).encode()
    target = path.with_name(name)
    target.write_bytes(struct.pack("<Q", len(written)) + written + data[8 + size :])
    return target


def carded(path: Path, edit: Edit) -> Path:
    """The same file with another card."""

    def change(header: Header) -> None:
        card = json.loads(header["__metadata__"]["card"])
        edit(card)
        header["__metadata__"]["card"] = json.dumps(card)

    return edited(path, change)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# What it holds -------------------------------------------------------------------------------------------------------


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


# Damage --------------------------------------------------------------------------------------------------------------


def test_a_damaged_file_is_one_line(file: Path, tmp_path: Path) -> None:
    """Cut short anywhere, too long, empty, of another kind, missing."""
    data, broken = file.read_bytes(), tmp_path / "broken.safetensors"
    for cut in (0, 4, 8, 100, len(data) // 2, len(data) - 1):
        broken.write_bytes(data[:cut])
        assert "broken.safetensors" in refusal(lambda: checkpoint.read_checkpoint(broken))
    for other in (data + b"x", b"GGUF" + data, b"PK\x03\x04" + data, b"\0" * 100, b"[]" * 50):
        broken.write_bytes(other)
        assert "broken.safetensors" in refusal(lambda: checkpoint.read_checkpoint(broken))
    broken.unlink()
    assert "cannot be read" in refusal(lambda: checkpoint.read_checkpoint(broken))


def test_other_safetensors_files_are_not_checkpoints(tmp_path: Path) -> None:
    """Neither when the card is read nor when a model is loaded."""
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})
    assert cards.read_card(path) is None
    assert (
        refusal(lambda: checkpoint.read_checkpoint(path))
        == "foreign.safetensors is not a tokenwalk checkpoint; choose another file"
    )
    assert catalog.trained(str(path)) is None


def test_a_checkpoint_of_another_version_is_refused(file: Path) -> None:
    path = edited(file, lambda header: header["__metadata__"].update(version="2"))
    assert "a checkpoint of version 2; this tokenwalk reads version 1" in refusal(
        lambda: checkpoint.read_checkpoint(path)
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_weights_are_refused(tmp_path: Path, value: float) -> None:
    model, path = model_of(world_card()), tmp_path / "a.safetensors"
    with torch.no_grad():
        model.get_parameter("blocks.0.attention.out.weight")[1, 1] = value
    checkpoint.write_checkpoint(path, world_card(), model)
    assert "blocks.0.attention.out.weight has non-finite numbers" in refusal(lambda: checkpoint.read_checkpoint(path))


SHAPES: dict[str, tuple[Edit, list[str]]] = {
    "wider": (lambda card: card["recipe"]["changes"].update(embed_dim=16), ["8", "16"]),
    "deeper": (lambda card: card["recipe"]["changes"].update(blocks=2), ["blocks.1", "nothing", "8"]),
    "another rung": (lambda card: card["recipe"].update(rung="model5"), ["nothing"]),
    "another vocabulary": (lambda card: card.update(originals=[], tokenizer="bytes"), ["825 × 8", "257 × 8"]),
    "wide beyond memory": (lambda card: card["recipe"]["changes"].update(embed_dim=10**9), ["7,320 numbers", ",000,"]),
    "deep beyond memory": (lambda card: card["recipe"]["changes"].update(blocks=10**12), ["numbers but", ",000,"]),
    "a context beyond memory": (
        lambda card: card["recipe"].update(rung="model2", changes={"context": 10**30}),
        ["numbers but"],
    ),
    "a vocabulary beyond memory": (lambda card: card.update(originals=[], tokenizer="cl100k"), ["100277 × 8"]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_card_that_does_not_fit_the_weights_names_both_shapes(file: Path, name: str) -> None:
    """And no model is built that would fill the memory."""
    edit, wanted = SHAPES[name]
    said = refusal(lambda: checkpoint.read_checkpoint(carded(file, edit)))
    assert "by its card" in said
    for word in wanted:
        assert word in said


def test_moments_must_be_complete(tmp_path: Path) -> None:
    """Missing, misshapen or unknown moments are refused."""
    model, path = model_of(world_card()), tmp_path / "a.safetensors"
    whole = moments_of(model)
    name = "first.embed.weight"
    for moments, wanted in (
        ({**whole, name: torch.zeros(3, 2)}, f"{name} is 3 × 2 but 825 × 8 by its card"),
        ({key: value for key, value in whole.items() if key != name}, f"{name} is nothing but 825 × 8"),
        ({**whole, "second.nobody": torch.zeros(0)}, "second.nobody is 0 but nothing"),
        ({"notes": torch.zeros(2)}, "notes is 2 but nothing"),
    ):
        checkpoint.write_checkpoint(path, world_card(), model, moments)
        assert wanted in refusal(lambda: checkpoint.read_checkpoint(path))


def test_unsupported_number_formats_are_refused(file: Path) -> None:
    def whole_numbers(header: Header) -> None:
        header["weights.embed.weight"]["dtype"] = "I32"

    assert "number format I32" in refusal(lambda: checkpoint.read_checkpoint(edited(file, whole_numbers)))


HEADERS: dict[str, Edit] = {
    "no metadata of pairs": lambda header: header.update(__metadata__=[]),
    "metadata of numbers": lambda header: header.update(__metadata__=5),
    "a shape of words": lambda header: header["weights.embed.weight"].update(shape=["a", "b"]),
    "a shape of fractions": lambda header: header["weights.embed.weight"].update(shape=[825.0, 8.5]),
    "a shape below nothing": lambda header: header["weights.embed.weight"].update(shape=[-825, -8]),
    "offsets of words": lambda header: header["weights.embed.weight"].update(data_offsets=["a", "b"]),
    "no card": lambda header: header["__metadata__"].pop("card"),
    "a card that is no JSON": lambda header: header["__metadata__"].update(card="{"),
    "a card that is a list": lambda header: header["__metadata__"].update(card="[]"),
    "a card that is a number": lambda header: header["__metadata__"].update(card="5"),
    "a card without an end": lambda header: header["__metadata__"].update(card="[" * 100_000),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_is_one_line(file: Path, name: str) -> None:
    path = edited(file, HEADERS[name])
    refusal(lambda: checkpoint.read_checkpoint(path))


CARDS: dict[str, Edit] = {
    "a step of words": lambda card: card.update(step="many"),
    "a step in parts": lambda card: card.update(step=1.5),
    "no loss": lambda card: card.update(loss=None),
    "a loss of words": lambda card: card.update(loss="low"),
    "a loss that is no number": lambda card: card.update(loss=float("nan")),
    "a loss beyond numbers": lambda card: card.update(loss=10**400),
    "a corpus of numbers": lambda card: card.update(corpus=5),
    "a tokenizer that is a list": lambda card: card.update(tokenizer=["world"]),
    "an unknown tokenizer": lambda card: card.update(tokenizer="morse", originals=[]),
    "a hostile tokenizer": lambda card: card.update(tokenizer="a\nb\x1b[2J", originals=[]),
    "ids of words": lambda card: card.update(originals=["a"]),
    "ids without an order": lambda card: card["originals"].reverse(),
    "ids twice": lambda card: card["originals"].insert(0, 0),
    "ids below none": lambda card: card["originals"].insert(0, -1),
    "ids of nothing": lambda card: card["originals"].insert(-1, 100_256),
    "ids beyond cl100k": lambda card: card["originals"].append(10**9),
    "ids without all bytes": lambda card: card["originals"].pop(5),
    "ids without an end": lambda card: card["originals"].pop(),
    "losses of words": lambda card: card.update(losses=["ab"]),
    "losses of one": lambda card: card.update(losses=[[1]]),
    "floors of words": lambda card: card.update(floors={"unigram": "a", "last_token": 1, "context": 1}),
    "floors of one": lambda card: card.update(floors={"unigram": 1}),
    "no recipe": lambda card: card.pop("recipe"),
    "a recipe of words": lambda card: card.update(recipe="bread"),
    "an unknown rung": lambda card: card["recipe"].update(rung="model9"),
    "a rung of numbers": lambda card: card["recipe"].update(rung=5),
    "no changes": lambda card: card["recipe"].update(changes=None),
    "a width in parts": lambda card: card["recipe"]["changes"].update(embed_dim=8.5),
    "a width of words": lambda card: card["recipe"]["changes"].update(embed_dim="wide"),
    "heads that do not fit": lambda card: card["recipe"]["changes"].update(heads=3),
    "an unknown activation": lambda card: card["recipe"]["changes"].update(activation="step"),
    "an activation that is a list": lambda card: card["recipe"]["changes"].update(activation=["gelu"]),
    "steps of words": lambda card: card["recipe"].update(steps="all"),
    "a text of numbers": lambda card: card["recipe"].update(text=5),
    "a probe of numbers": lambda card: card["recipe"].update(probe=5),
    "a rate of words": lambda card: card["recipe"].update(lr="fast"),
    "an unknown field": lambda card: card.update(secret=1),
    "an unknown field of the recipe": lambda card: card["recipe"].update(secret=1),
    "a missing field": lambda card: card.pop("corpus"),
}


@pytest.mark.parametrize("name", CARDS)
def test_a_hostile_card_is_one_line(file: Path, home: Path, name: str) -> None:
    """When it is read, listed among models, or loaded as one."""
    path = carded(file, CARDS[name])
    refusal(lambda: checkpoint.read_checkpoint(path))
    choice = ModelChoice(name=str(path), device="cpu")
    refusal(lambda: models.load_model(choice))
    (home / "mine").mkdir(parents=True)
    path.rename(home / "mine" / LATEST)
    (offer,) = (each for each in catalog.offers() if each.name == "mine")
    assert offer.problem is None or len(offer.problem.splitlines()) == 1


@settings(derandomize=True, database=None, deadline=None, max_examples=100)
@given(
    path=st.lists(st.sampled_from(["recipe", "changes", "floors", "step", "loss", "originals", "lr"]), max_size=3),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    ),
)  # fmt: skip
def test_a_random_card_is_a_card_or_one_line(path: list[str], value: object) -> None:
    card = json.loads(cards.metadata(world_card())["card"])
    place: Any = card
    for key in path[:-1]:
        place = place[key] if isinstance(place, dict) and key in place else card
    if isinstance(place, dict) and path:
        place[path[-1]] = value
    metadata = {**cards.metadata(world_card()), "card": json.dumps(card)}
    file = WeightsFile(Path("a.safetensors"), metadata, {})
    try:
        found = cards.card_of(file)
        assert found is not None
        assert found.origin
        found.load_tokenizer()
    except UserError as error:
        assert len(str(error).splitlines()) == 1


# Writing -------------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no temporary file beside it."""
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    said = refusal(lambda: checkpoint.write_checkpoint(file, world_card(step=61), model_of(world_card())))
    assert "No space left on device" in said
    assert file.read_bytes() == before
    assert [*file.parent.iterdir()] == [file]


def test_a_full_disk_leaves_the_earlier_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training can be resumed from them once there is room."""
    text = tmp_path / "text.txt"
    text.write_text(REFERENCE)
    recipe = Recipe(
        rung="model1", text=str(text), vocabulary="bytes", changes=Hyperparameters(context=4), steps=4, every=2
    )
    made = Training(recipe, tmp_path / "a", CPU)
    with monkeypatch.context() as patch:
        for event in made.run():
            if isinstance(event, CheckpointSaved):
                break
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        assert "No space left" in refusal(lambda: list(made.run()))
        assert {path.name for path in (tmp_path / "a").iterdir()} == {LATEST, "step-0000000.safetensors"}
    assert list(made.run())[-1].step == 4  # type: ignore[union-attr]
    assert checkpoint.read_checkpoint(tmp_path / "a" / LATEST).card.step == 4


def test_writing_into_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.safetensors"
    assert "cannot be written" in refusal(
        lambda: checkpoint.write_checkpoint(path, world_card(), model_of(world_card()))
    )


# As a model ----------------------------------------------------------------------------------------------------------

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
    (offer,) = (each for each in catalog.offers() if each.name == "mine")
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

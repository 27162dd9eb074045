"""Checkpoints as files: what they say of themselves, damage and malice in one clear line, a model from each."""

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
from core.formats import files
from core.loading import catalog, models, tokenizers
from core.loading.checkpoints import card as cards
from core.loading.checkpoints import checkpoint, folders
from core.loading.checkpoints.card import Card
from core.loading.checkpoints.folders import LATEST
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters, ModelChoice
from core.training.dataset import REFERENCE
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
    words = tokenizers.load_tokenizer(tiny.NAME)
    given: dict[str, Any] = {
        "recipe": recipe, "step": 60, "loss": 2.5, "corpus": "the tiny world", "corpus_sha256": tiny.sha256(),
        "tokenizer": words.name, "originals": words.originals, "floors": FLOORS, "losses": ((0, 6.5), (60, 2.5)),
        "command": "tokenwalk train",
    }  # fmt: skip
    return Card(**given | more)


def model_of(card: Card, seed: int = 1) -> Transformer:
    return random_model(card.recipe.config(card.words().vocab_size), seed)


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
    with pytest.raises(UserError) as mistake:
        act()
    assert len(str(mistake.value).splitlines()) == 1
    return str(mistake.value)


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
def test_a_card_is_read_as_it_was_written(card: Card, tmp_path: Path) -> None:
    """All of it, with what made it and the hash of the weights; weights and moments to the last bit."""
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
    assert found.words is card.words()
    assert found.config == model.config
    assert cards.plain(card).keys().isdisjoint({"originals", "losses"})
    json.dumps(cards.plain(card), allow_nan=False)


def test_others_can_read_it_too(file: Path) -> None:
    """It is safetensors as the library reads it, a tied matrix once."""
    weights = safetensors.torch.load_file(file)
    model = model_of(world_card())
    assert weights.keys() == {f"weights.{name}" for name, _ in model.named_parameters()}
    assert all(torch.equal(weights[f"weights.{name}"], weight) for name, weight in model.named_parameters())


def test_weights_may_have_16_bits(tmp_path: Path) -> None:
    card = world_card()
    for dtype in (torch.float16, torch.bfloat16):
        model = model_of(card).to(dtype)
        checkpoint.write_checkpoint(tmp_path / "a.safetensors", card, model)
        filled = model_of(card, seed=2)
        checkpoint.read_checkpoint(tmp_path / "a.safetensors").fill(filled)
        assert all(torch.equal(a, b.float()) for a, b in zip(filled.parameters(), model.parameters(), strict=True))


def test_what_it_is_for_a_person() -> None:
    assert (
        world_card(step=1234).origin == "trained for 1,234 steps on the tiny world, loss 2.500, 1.800 above its floor"
    )


# Damage --------------------------------------------------------------------------------------------------------------


def test_a_damaged_file_is_one_clear_line(file: Path, tmp_path: Path) -> None:
    """Cut short anywhere, too long, empty, something else, missing."""
    data, broken = file.read_bytes(), tmp_path / "broken.safetensors"
    for cut in (0, 4, 8, 100, len(data) // 2, len(data) - 1):
        broken.write_bytes(data[:cut])
        assert "broken.safetensors" in refusal(lambda: checkpoint.read_checkpoint(broken))
    for other in (data + b"x", b"GGUF" + data, b"PK\x03\x04" + data, b"\0" * 100, b"[]" * 50):
        broken.write_bytes(other)
        assert "broken.safetensors" in refusal(lambda: checkpoint.read_checkpoint(broken))
    broken.unlink()
    assert "cannot be read" in refusal(lambda: checkpoint.read_checkpoint(broken))


def test_a_foreign_file_is_told(tmp_path: Path) -> None:
    """Safetensors that others made are no checkpoint, by the card and as a model."""
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})
    assert cards.read_card(path) is None
    assert refusal(lambda: checkpoint.read_checkpoint(path)) == "foreign.safetensors is no checkpoint of tokenwalk"
    assert catalog.trained(str(path)) is None


def test_a_checkpoint_of_another_version_is_told(file: Path) -> None:
    path = edited(file, lambda header: header["__metadata__"].update(version="2"))
    assert "a checkpoint of version 2; this tokenwalk reads version 1" in refusal(
        lambda: checkpoint.read_checkpoint(path)
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_told(tmp_path: Path, value: float) -> None:
    model, path = model_of(world_card()), tmp_path / "a.safetensors"
    with torch.no_grad():
        model.get_parameter("blocks.0.attention.out.weight")[1, 1] = value
    checkpoint.write_checkpoint(path, world_card(), model)
    assert "blocks.0.attention.out.weight has numbers that are not finite" in refusal(
        lambda: checkpoint.read_checkpoint(path)
    )


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
    """What there is and what there should be, and nothing is built that would fill the memory."""
    edit, wanted = SHAPES[name]
    said = refusal(lambda: checkpoint.read_checkpoint(carded(file, edit)))
    assert "by its card" in said
    for word in wanted:
        assert word in said


def test_moments_are_of_all_weights_or_of_none(tmp_path: Path) -> None:
    """Some that are missing, of another shape, or of what there is not are told before anything goes on with them."""
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


def test_numbers_of_another_kind_are_told(file: Path) -> None:
    def whole_numbers(header: Header) -> None:
        header["weights.embed.weight"]["dtype"] = "I32"

    assert "stored as I32" in refusal(lambda: checkpoint.read_checkpoint(edited(file, whole_numbers)))


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
def test_a_hostile_header_is_one_clear_line(file: Path, name: str) -> None:
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
def test_a_hostile_card_is_one_clear_line(file: Path, home: Path, name: str) -> None:
    """Read as a checkpoint, listed among models, chosen as one: a line, and nothing else happens."""
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
def test_a_card_that_nobody_thought_of_is_a_card_or_a_line(path: list[str], value: object) -> None:
    card = json.loads(cards.metadata(world_card())["card"])
    place: Any = card
    for key in path[:-1]:
        place = place[key] if isinstance(place, dict) and key in place else card
    if isinstance(place, dict) and path:
        place[path[-1]] = value
    metadata = {**cards.metadata(world_card()), "card": json.dumps(card)}
    file = files.WeightsFile(Path("a.safetensors"), metadata, {})
    try:
        found = cards.of(file)
        assert found is not None
        assert found.origin
        found.words()
    except UserError as mistake:
        assert len(str(mistake).splitlines()) == 1


# Writing -------------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, and nothing half written beside it."""
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    said = refusal(lambda: checkpoint.write_checkpoint(file, world_card(step=61), model_of(world_card())))
    assert "No space left on device" in said
    assert file.read_bytes() == before
    assert [*file.parent.iterdir()] == [file]


def test_a_full_disk_ends_a_training_with_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoints that were written before stay, and from them it goes on once there is room."""
    text = tmp_path / "text.txt"
    text.write_text(REFERENCE)
    recipe = Recipe(
        rung="model1", text=str(text), vocabulary="bytes", changes=Hyperparameters(context=4), steps=4, every=2
    )
    made = Training(recipe, tmp_path / "a", CPU)
    with monkeypatch.context() as patch:
        for event in made.run():
            if type(event).__name__ == "CheckpointSaved":
                break
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        assert "No space left" in refusal(lambda: list(made.run()))
        assert {path.name for path in (tmp_path / "a").iterdir()} == {LATEST, "step-0000000.safetensors"}
    assert list(made.run())[-1].step == 4  # type: ignore[union-attr]
    assert checkpoint.read_checkpoint(tmp_path / "a" / LATEST).card.step == 4


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.safetensors"
    assert "cannot be written" in refusal(
        lambda: checkpoint.write_checkpoint(path, world_card(), model_of(world_card()))
    )


# As a model ----------------------------------------------------------------------------------------------------------

HERE: list[DeviceInfo] = [each for each in device.devices() if each.problem is None]


@pytest.mark.parametrize("name", [each.name for each in HERE])
@pytest.mark.parametrize("dtype", ["auto", "fp32", "bf16", "fp16"])
def test_a_checkpoint_is_a_model(name: str, dtype: str, file: Path) -> None:
    """By its path, on every device and in every format there is; its logits are those of its weights."""
    model = models.load_model(ModelChoice(name=str(file), device=name, dtype=dtype))
    exact = model_of(world_card())
    ids = torch.tensor([list(islice((id for text in tiny.texts(1) for id in text), 6))])
    found = model.transformer(ids.to(model.transformer.device))[0].float().cpu()
    assert torch.allclose(found, exact(ids)[0], atol={"bf16": 5e-2, "fp16": 5e-3}.get(dtype, 1e-5))
    assert model.info.dtype == {"auto": "fp32"}.get(dtype, dtype)
    assert (model.info.title, model.info.weights) == ("Llama", world_card().origin)
    assert (model.info.tokenizer, model.info.context, model.info.vocab_size) == ("world", 6, 825)


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_packed_formats_are_for_other_models(file: Path, dtype: str) -> None:
    assert "choose fp32, bf16 or fp16" in refusal(lambda: models.load_model(ModelChoice(name=str(file), dtype=dtype)))


def test_a_training_is_a_model_by_its_name(file: Path, home: Path) -> None:
    """Under XDG_DATA_HOME, a folder each: listed, loaded, and no other way in."""
    (home / "mine").mkdir(parents=True)
    (home / "mine" / LATEST).write_bytes(file.read_bytes())
    (home / "empty").mkdir()
    assert [name for name, _ in folders.here()] == ["mine"]
    (offer,) = (each for each in catalog.offers() if each.name == "mine")
    assert (offer.family, offer.words, offer.problem) == ("Llama", world_card().origin, None)
    assert offer.size_bytes == file.stat().st_size
    assert models.load_model(ModelChoice(name="mine", device="cpu")).info.name == "mine"
    for wrong in ("empty", "nobody", "../trained/mine", ".", "", "mine/"):
        assert catalog.trained(wrong) is None
    assert "sizes, weights and tokenizer" in refusal(lambda: catalog.check(ModelChoice(name="mine", weights_seed=4)))


def test_a_twin_is_the_rung_before_it_learned(file: Path, home: Path) -> None:
    """The same sizes, the first weights, the same tokenizer object; and from a rung to the trained one of its name."""
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


def test_a_rung_of_a_cut_vocabulary_has_no_twin(tmp_path: Path) -> None:
    """There is no name for its tokens; its own words are those of its card, one object for all that load it."""
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

"""A damaged or hostile checkpoint is a user error of one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from checkpoint_files import Edit, Header, carded, edited, model_of, moments_of, refusal, world_card
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.formats.tensors import WeightsFile
from core.loading import catalog, listing, models
from core.loading.checkpoints import card as cards
from core.loading.checkpoints import checkpoint
from core.loading.checkpoints.folders import LATEST
from core.loading.choice import ModelChoice


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "latest.safetensors"
    checkpoint.write_checkpoint(path, world_card(), model_of(world_card()))
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "tokenwalk" / "trained"


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
    assert "a checkpoint of version 2, but this tokenwalk reads version 1" in refusal(
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
    "deep": (lambda card: card["recipe"]["changes"].update(blocks=1000), ["numbers, but"]),
    "a context beyond memory": (
        lambda card: card["recipe"].update(rung="model2", changes={"context": 10**30}),
        ["numbers, but"],
    ),
    "a vocabulary beyond memory": (lambda card: card.update(originals=[], tokenizer="cl100k"), ["100277 × 8"]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_card_that_does_not_fit_the_weights_names_both_shapes(file: Path, name: str) -> None:
    """And no model is built that would fill the memory."""
    edit, wanted = SHAPES[name]
    message = refusal(lambda: checkpoint.read_checkpoint(carded(file, edit)))
    assert "its card says" in message
    for word in wanted:
        assert word in message


def test_moments_must_be_complete(tmp_path: Path) -> None:
    """Missing, misshapen or unknown moments are refused."""
    model, path = model_of(world_card()), tmp_path / "a.safetensors"
    whole = moments_of(model)
    name = "first.embed.weight"
    for moments, wanted in (
        ({**whole, name: torch.zeros(3, 2)}, f"{name} is 3 × 2, but its card says 825 × 8"),
        ({key: value for key, value in whole.items() if key != name}, f"{name} is nothing, but its card says 825 × 8"),
        ({**whole, "second.nobody": torch.zeros(0)}, "second.nobody is 0, but its card says nothing"),
        ({"notes": torch.zeros(2)}, "notes is 2, but its card says nothing"),
    ):
        checkpoint.write_checkpoint(path, world_card(), model, moments)
        assert wanted in refusal(lambda: checkpoint.read_checkpoint(path))


def test_unsupported_number_formats_are_refused(file: Path) -> None:
    def whole_numbers(header: Header) -> None:
        header["weights.embed.weight"]["dtype"] = "I32"

    assert "number format I32" in refusal(lambda: checkpoint.read_checkpoint(edited(file, whole_numbers)))


HEADERS: dict[str, Edit] = {
    "metadata that is a list": lambda header: header.update(__metadata__=[]),
    "metadata of numbers": lambda header: header.update(__metadata__=5),
    "a shape of text": lambda header: header["weights.embed.weight"].update(shape=["a", "b"]),
    "a shape of fractions": lambda header: header["weights.embed.weight"].update(shape=[825.0, 8.5]),
    "a negative shape": lambda header: header["weights.embed.weight"].update(shape=[-825, -8]),
    "offsets of text": lambda header: header["weights.embed.weight"].update(data_offsets=["a", "b"]),
    "no card": lambda header: header["__metadata__"].pop("card"),
    "a card that is no JSON": lambda header: header["__metadata__"].update(card="{"),
    "a card that is a list": lambda header: header["__metadata__"].update(card="[]"),
    "a card that is a number": lambda header: header["__metadata__"].update(card="5"),
    "a card nested too deeply": lambda header: header["__metadata__"].update(card="[" * 100_000),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_is_one_line(file: Path, name: str) -> None:
    path = edited(file, HEADERS[name])
    refusal(lambda: checkpoint.read_checkpoint(path))


CARDS: dict[str, Edit] = {
    "a step of text": lambda card: card.update(step="many"),
    "a step with a fraction": lambda card: card.update(step=1.5),
    "no loss": lambda card: card.update(loss=None),
    "a loss of text": lambda card: card.update(loss="low"),
    "a loss that is NaN": lambda card: card.update(loss=float("nan")),
    "a loss too large for a float": lambda card: card.update(loss=10**400),
    "a corpus of numbers": lambda card: card.update(corpus=5),
    "a tokenizer that is a list": lambda card: card.update(tokenizer=["world"]),
    "an unknown tokenizer": lambda card: card.update(tokenizer="morse", originals=[]),
    "a hostile tokenizer": lambda card: card.update(tokenizer="a\nb\x1b[2J", originals=[]),
    "ids of text": lambda card: card.update(originals=["a"]),
    "ids in descending order": lambda card: card["originals"].reverse(),
    "an id twice": lambda card: card["originals"].insert(0, 0),
    "a negative id": lambda card: card["originals"].insert(0, -1),
    "an unused id": lambda card: card["originals"].insert(-1, 100_256),
    "ids beyond cl100k": lambda card: card["originals"].append(10**9),
    "ids without all bytes": lambda card: card["originals"].pop(5),
    "ids without an end": lambda card: card["originals"].pop(),
    "losses of text": lambda card: card.update(losses=["ab"]),
    "losses of one": lambda card: card.update(losses=[[1]]),
    "floors of text": lambda card: card.update(floors={"unigram": "a", "last_token": 1, "context": 1}),
    "floors of one": lambda card: card.update(floors={"unigram": 1}),
    "no recipe": lambda card: card.pop("recipe"),
    "a recipe of text": lambda card: card.update(recipe="bread"),
    "an unknown rung": lambda card: card["recipe"].update(rung="model9"),
    "a rung of numbers": lambda card: card["recipe"].update(rung=5),
    "no changes": lambda card: card["recipe"].update(changes=None),
    "a width with a fraction": lambda card: card["recipe"]["changes"].update(embed_dim=8.5),
    "a width of text": lambda card: card["recipe"]["changes"].update(embed_dim="wide"),
    "heads that do not fit": lambda card: card["recipe"]["changes"].update(heads=3),
    "an unknown activation": lambda card: card["recipe"]["changes"].update(activation="step"),
    "an activation that is a list": lambda card: card["recipe"]["changes"].update(activation=["gelu"]),
    "steps of text": lambda card: card["recipe"].update(steps="all"),
    "a text of numbers": lambda card: card["recipe"].update(text=5),
    "a probe of numbers": lambda card: card["recipe"].update(probe=5),
    "a rate of text": lambda card: card["recipe"].update(lr="fast"),
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
    (offer,) = (each for each in listing.offers() if each.name == "mine")
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
    target: Any = card
    for key in path[:-1]:
        target = target[key] if isinstance(target, dict) and key in target else card
    if isinstance(target, dict) and path:
        target[path[-1]] = value
    metadata = {**cards.metadata(world_card()), "card": json.dumps(card)}
    file = WeightsFile(Path("a.safetensors"), metadata, {})
    try:
        found = cards.card_of(file)
        assert found is not None
        assert found.origin
        found.load_tokenizer()
    except UserError as error:
        assert len(str(error).splitlines()) == 1

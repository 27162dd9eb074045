"""Checkpoints of an untrained rung, and copies of them with another header or card."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.engine.model import Transformer, random_model
from core.errors import UserError
from core.loading import tokenizers
from core.loading.checkpoints import checkpoint
from core.loading.checkpoints.card import Card
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters
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

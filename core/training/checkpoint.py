"""Owns a checkpoint as a file: weights as safetensors, and in their header a card that says what they are.

A rung that is still learning also has the moments of its optimizer there, so that the training can be gone on with.
"""

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from core import files, prune, tokenizer
from core.atomic import replacing
from core.config import Hyperparameters, ModelConfig
from core.errors import Mistake
from core.model import Transformer
from core.tokenizer import Tokenizer
from core.training.recipe import Recipe
from core.world.machine import Floors

FORMAT, VERSION = "tokenwalk checkpoint", 1
KINDS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
WEIGHTS, MOMENTS = "weights.", ("first.", "second.")
"""What names begin with: of the weights, and of the running means of gradients and of their squares (AdamW)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a checkpoint is."""

    recipe: Recipe
    step: int
    loss: float
    """The validation loss, nats a token."""
    corpus: str
    """What it was trained on, for a person."""
    corpus_sha256: str
    tokenizer: str
    originals: tuple[int, ...] = ()
    """The ids of a vocabulary that was cut from cl100k."""
    floors: Floors | None = None
    """The lowest losses there are on its corpus."""
    losses: tuple[tuple[int, float], ...] = ()
    """Steps and the validation losses after them, up to this one."""
    command: str = ""
    """What makes the same again."""
    program: str = ""
    """What made it."""
    weights_sha256: str = ""
    """Of the weights' bytes, by their names in order."""

    def words(self) -> Tokenizer:
        """Its vocabulary. Raises `Mistake` where that cannot be."""
        if not self.originals:
            return tokenizer.load(self.tokenizer)
        whole = tokenizer.load("cl100k")
        if sorted({*self.originals}) != [*self.originals] or self.originals[-1] != whole.end_of_text:
            raise Mistake("its vocabulary is no part of cl100k")
        return prune.made_of(whole, self.originals[:-1], self.tokenizer)


def card(path: Path) -> Card | None:
    """What the checkpoint at `path` is; None where that is another kind of file. Raises `Mistake` for a damaged one."""
    return _card(files.read(path))


def _card(file: files.WeightsFile) -> Card | None:
    if file.metadata.get("format") != FORMAT:
        return None
    where = file.path.name
    if file.metadata.get("version") != str(VERSION):
        raise Mistake(
            f"{where} is a checkpoint of version {file.metadata.get('version')}; this tokenwalk reads version {VERSION}"
        )
    try:
        said = json.loads(file.metadata["card"])
        said["recipe"]["changes"] = Hyperparameters(**said["recipe"]["changes"])
        said["recipe"] = Recipe(**said["recipe"])
        said["floors"] = Floors(**said["floors"]) if said.get("floors") else None
        said["originals"] = tuple(map(int, said["originals"]))
        said["losses"] = tuple((int(step), float(loss)) for step, loss in said["losses"])
        return Card(**said)
    except Mistake as mistake:
        raise Mistake(f"{where} has a card that cannot be: {mistake}") from mistake
    except (KeyError, TypeError, ValueError) as error:
        raise Mistake(f"{where} has a damaged card; take another checkpoint") from error


def write(path: Path, card: Card, model: Transformer, moments: Mapping[str, Tensor] | None = None) -> None:
    """Put a rung and its card into one file, in one move. Raises `Mistake` where it cannot be written."""
    weights = {name: weight.detach().to("cpu").contiguous() for name, weight in model.named_parameters()}
    said = {each.name: getattr(card, each.name) for each in fields(card)} | {
        "recipe": asdict(card.recipe),
        "floors": asdict(card.floors) if card.floors else None,
        "program": f"tokenwalk {version('tokenwalk')}, torch {torch.__version__}, Python {sys.version.split()[0]}",
        "weights_sha256": _sha256(weights.values()),
    }
    metadata = {"format": FORMAT, "version": str(VERSION), "card": json.dumps(said)}
    tensors = {WEIGHTS + name: weight for name, weight in weights.items()} | dict(moments or {})
    with replacing(path) as file:
        file.write(safetensors.torch.save(tensors, metadata))


def _sha256(weights: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(weight.view(torch.uint8).numpy())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was read."""

    card: Card
    words: Tokenizer
    config: ModelConfig
    tensors: Mapping[str, Tensor]
    """By their names in the file, without copies."""

    def fill(self, model: Transformer) -> None:
        """Let a model have its weights."""
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(self.tensors[WEIGHTS + name])

    @property
    def moments(self) -> dict[str, Tensor]:
        """What the optimizer remembered; empty where the rung does not learn on."""
        return {name: tensor for name, tensor in self.tensors.items() if name.startswith(MOMENTS)}


def read(path: Path) -> Checkpoint:
    """A checkpoint, checked against its card. Raises `Mistake` for what is none, damaged, or does not fit together."""
    file = files.read(path)
    card = _card(file)
    if card is None:
        raise Mistake(f"{path.name} is no checkpoint of tokenwalk")
    words = card.words()
    config = card.recipe.config(words.vocab_size)
    tensors = {name: _tensor(path, name, stored) for name, stored in file.tensors.items()}
    with torch.device("meta"):
        wanted = {WEIGHTS + name: tuple(weight.shape) for name, weight in Transformer(config).named_parameters()}
    there = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name.startswith(WEIGHTS)}
    for name in sorted(wanted.keys() | there.keys()):
        if wanted.get(name) != there.get(name):
            sizes = [" × ".join(map(str, each[name])) if name in each else "nothing" for each in (there, wanted)]
            raise Mistake(
                f"{path.name}: {name} is {sizes[0]} but {sizes[1]} by its card; it is damaged or was made by another "
                "version of the ladder; train it again"
            )
    return Checkpoint(card, words, config, tensors)


def _tensor(path: Path, name: str, stored: files.Stored) -> Tensor:
    if stored.kind not in KINDS:
        raise Mistake(f"{path.name}: {name} is stored as {stored.kind}, which no checkpoint is")
    kind, count = KINDS[stored.kind], math.prod(stored.shape)
    tensor = torch.frombuffer(stored.view, dtype=kind, count=count, offset=stored.start).view(stored.shape)
    if not bool(tensor.isfinite().all()):
        raise Mistake(f"{path.name}: {name} has numbers that are not finite; take an earlier checkpoint")
    return tensor


def said(card: Card) -> dict[str, Any]:
    """A card as plain data, without its ids."""
    return {name: value for name, value in asdict(card).items() if name not in ("originals", "losses")}

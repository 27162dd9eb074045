"""Owns a checkpoint as a file: weights as safetensors, and in their header a card that says what they are.

A rung that is still learning also has the moments of its optimizer there, so that the training can be gone on with.
"""

import hashlib
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from core.atomic import replacing
from core.engine.config import ModelConfig
from core.engine.model import Transformer
from core.errors import UserError
from core.formats.tensors import StoredTensor, WeightsFile
from core.formats.weights_file import read_weights_file
from core.loading.checkpoints.card import Card, metadata, of
from core.tokenizers.tokenizer import Tokenizer

KINDS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
WEIGHTS, MOMENTS = "weights.", ("first.", "second.")
"""What names begin with: of the weights, and of the running means of gradients and of their squares (AdamW)."""


def write_checkpoint(path: Path, card: Card, model: Transformer, moments: Mapping[str, Tensor] | None = None) -> None:
    """Put a rung and its card into one file, in one move. Raises `UserError` where it cannot be written."""
    weights = {name: weight.detach().to("cpu").contiguous() for name, weight in model.named_parameters()}
    program = f"tokenwalk {version('tokenwalk')}, torch {torch.__version__}, Python {sys.version.split()[0]}"
    card = replace(card, program=program, weights_sha256=_sha256(weights.values()))
    tensors = {WEIGHTS + name: weight for name, weight in weights.items()} | dict(moments or {})
    with replacing(path) as file:
        file.write(safetensors.torch.save(tensors, dict(metadata(card))))


def _sha256(weights: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(weight.view(torch.uint8).numpy().tobytes())
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


def read_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint, checked against its card. Raises `UserError` for what is none, damaged, or does not fit together."""
    file = read_weights_file(path)
    card = of(file)
    if card is None:
        raise UserError(f"{path.name} is no checkpoint of tokenwalk")
    words = card.words()
    config = card.recipe.config(words.vocab_size)
    cure = "it is damaged or was made by another version of the ladder; train it again"
    there, count = sum(math.prod(stored.shape) for stored in file.tensors.values()), config.parameter_count()
    if count > 1000 * there or config.blocks > len(file.tensors):  # nothing as large as that is built to find out more
        raise UserError(f"{path.name} has {there:,} numbers but {count:,} by its card; {cure}")
    wanted = _wanted(config, file)
    for name in sorted(wanted.keys() | file.tensors.keys()):
        sizes = wanted.get(name), file.tensors[name].shape if name in file.tensors else None
        if sizes[0] != sizes[1]:
            by_card, found = ("nothing" if size is None else " × ".join(map(str, size)) for size in sizes)
            raise UserError(f"{path.name}: {name} is {found} but {by_card} by its card; {cure}")
    tensors = {name: _tensor(path, name, stored) for name, stored in file.tensors.items()}
    return Checkpoint(card, words, config, tensors)


def _wanted(config: ModelConfig, file: WeightsFile) -> dict[str, tuple[int, ...]]:
    """The shapes of all that a checkpoint of such a rung holds; moments are in it for all weights or for none."""
    with torch.device("meta"):
        shapes = {name: tuple(weight.shape) for name, weight in Transformer(config).named_parameters()}
    kinds = (WEIGHTS, *MOMENTS) if any(name.startswith(MOMENTS) for name in file.tensors) else (WEIGHTS,)
    return {kind + name: shape for kind in kinds for name, shape in shapes.items()}


def _tensor(path: Path, name: str, stored: StoredTensor) -> Tensor:
    if stored.dtype not in KINDS:
        raise UserError(f"{path.name}: {name} is stored as {stored.dtype}, which no checkpoint is")
    kind, count = KINDS[stored.dtype], math.prod(stored.shape)
    tensor = torch.frombuffer(stored.view, dtype=kind, count=count, offset=stored.start).view(stored.shape)
    if not bool(tensor.isfinite().all()):
        raise UserError(f"{path.name}: {name} has numbers that are not finite; take an earlier checkpoint")
    return tensor

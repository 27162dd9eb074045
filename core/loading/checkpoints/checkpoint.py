"""Checkpoint files: a safetensors file with weights, and a card in its header.

The latest checkpoint of a training also holds the moments of its optimizer, so that the training can be resumed.
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
from core.language import _
from core.loading.checkpoints.card import Card, card_of, metadata
from core.tokenizers.tokenizer import Tokenizer

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
WEIGHTS, MOMENTS = "weights.", ("first.", "second.")
"""Prefixes of tensor names: weights; AdamW's running means of gradients (first) and of their squares (second)."""


def write_checkpoint(path: Path, card: Card, model: Transformer, moments: Mapping[str, Tensor] | None = None) -> None:
    """Write a rung and its card atomically to one file. Raises `UserError` where that fails."""
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
    """A checkpoint that was read and checked."""

    card: Card
    tokenizer: Tokenizer
    config: ModelConfig
    tensors: Mapping[str, Tensor]
    """By their names in the file; views of it, not copies."""

    def fill(self, model: Transformer) -> None:
        """Copy the weights into a model."""
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(self.tensors[WEIGHTS + name])

    @property
    def moments(self) -> dict[str, Tensor]:
        """The optimizer's running means; empty where the training cannot be resumed."""
        return {name: tensor for name, tensor in self.tensors.items() if name.startswith(MOMENTS)}


def read_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint, checked against its card.

    Raises `UserError` for another kind of file, a damaged one, or a card that does not fit the tensors.
    """
    file = read_weights_file(path)
    card = card_of(file)
    if card is None:
        raise UserError(_("{file} is not a tokenwalk checkpoint; choose another file"), file=path.name)
    tokenizer = card.load_tokenizer()
    config = card.recipe.config(tokenizer.vocab_size)
    advice = _("it is damaged or of another version of the ladder; train it again")
    found_count, count = sum(math.prod(stored.shape) for stored in file.tensors.values()), config.parameter_count()
    if count > 1000 * found_count or config.blocks > len(file.tensors):  # too large to build just to compare shapes
        raise UserError(
            _("{file} has {found:,} numbers, but its card says {count:,}; {advice}"),
            file=path.name,
            found=found_count,
            count=count,
            advice=advice,
        )
    expected = _expected_shapes(config, file)
    for name in sorted(expected.keys() | file.tensors.keys()):
        shapes = expected.get(name), file.tensors[name].shape if name in file.tensors else None
        if shapes[0] != shapes[1]:
            by_card, found = ("nothing" if shape is None else " × ".join(map(str, shape)) for shape in shapes)
            raise UserError(
                _("{file}: {name} is {found}, but its card says {expected}; {advice}"),
                file=path.name,
                name=name,
                found=found,
                expected=by_card,
                advice=advice,
            )
    tensors = {name: _tensor(path, name, stored) for name, stored in file.tensors.items()}
    return Checkpoint(card, tokenizer, config, tensors)


def _expected_shapes(config: ModelConfig, file: WeightsFile) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of such a checkpoint. It has moments for all weights or for none."""
    parameters = Transformer.without_weights(config).named_parameters()
    shapes = {name: tuple(weight.shape) for name, weight in parameters}
    prefixes = (WEIGHTS, *MOMENTS) if any(name.startswith(MOMENTS) for name in file.tensors) else (WEIGHTS,)
    return {prefix + name: shape for prefix in prefixes for name, shape in shapes.items()}


def _tensor(path: Path, name: str, stored: StoredTensor) -> Tensor:
    if stored.dtype not in DTYPES:
        raise UserError(
            _("{file}: {name} has the number format {dtype} (allowed: {choices}); choose another checkpoint"),
            file=path.name,
            name=name,
            dtype=stored.dtype,
            choices=", ".join(DTYPES),
        )
    dtype, count = DTYPES[stored.dtype], math.prod(stored.shape)
    tensor = torch.frombuffer(stored.view, dtype=dtype, count=count, offset=stored.start).view(stored.shape)
    if not bool(tensor.isfinite().all()):
        raise UserError(
            _("{file}: {name} has non-finite numbers; choose an earlier checkpoint"), file=path.name, name=name
        )
    return tensor

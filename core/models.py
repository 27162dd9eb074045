"""Owns the way from a model's name to a model with weights on a device."""

from dataclasses import dataclass

import torch

from core import device as devices
from core import ladder, tokenizer
from core.config import ModelChoice
from core.errors import Mistake
from core.events import ModelInfo
from core.ladder import Rung
from core.model import Transformer, random_model
from core.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Model:
    """Weights, the tokenizer they were made for, and what to say of them."""

    choice: ModelChoice
    info: ModelInfo
    transformer: Transformer
    tokenizer: Tokenizer


def load(choice: ModelChoice) -> Model:
    """Build the model a person chose. Raises `Mistake` for what does not exist, cannot be, or does not fit."""
    device = devices.resolve(choice.device)
    dtype = devices.dtype(choice.dtype, device)
    words = tokenizer.load(choice.tokenizer)
    rung = ladder.rung(choice.name, words.vocab_size, choice.changes)
    if not 0 <= choice.weights_seed < 2**63:
        raise Mistake(f"the weights seed must be between 0 and 2^63 - 1, not {choice.weights_seed}")
    _check_room(rung, device)
    transformer = random_model(rung.config, choice.weights_seed).to(device, dtype)
    info = ModelInfo(
        name=rung.name,
        title=rung.title,
        parameters=transformer.parameter_count(),
        vocab_size=rung.config.vocab_size,
        context=rung.config.context,
        device=str(device),
        dtype=devices.dtype_name(dtype),
        tokenizer=words.name,
        weights=f"random weights, seed {choice.weights_seed}",
    )
    return Model(choice, info, transformer, words)


def _check_room(rung: Rung, device: torch.device) -> None:
    """Refuse sizes that the machine would be killed over; random weights are made on the CPU in float32."""
    needed = 4 * rung.config.parameter_count()
    for info in devices.devices():
        if info.name in ("cpu", str(device)) and info.memory_bytes and needed > 0.8 * info.memory_bytes:
            raise Mistake(
                f"{rung.name} in these sizes needs {needed / 1e9:.1f} GB; "
                f"{info.name} has {info.memory_bytes / 1e9:.1f} GB; choose a smaller --embed-dim, --context or --blocks"
            )

"""Owns the way from a model's name to a model with weights on a device."""

from dataclasses import dataclass

import torch

from core import catalog, families, ladder, tokenizer, vocabulary, weights
from core import device as devices
from core.config import ModelChoice, ModelConfig
from core.errors import Mistake
from core.events import ModelInfo
from core.hub import Report
from core.model import Transformer, random_model
from core.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Model:
    """Weights, the tokenizer they were made for, and what to say of them."""

    choice: ModelChoice
    info: ModelInfo
    transformer: Transformer
    tokenizer: Tokenizer


def load(choice: ModelChoice, report: Report | None = None) -> Model:
    """Build the model a person chose, fetched first where it must be, of which `report` is told.

    Raises `Mistake` for what does not exist, cannot be, or does not fit.
    """
    device = devices.resolve(choice.device)
    dtype = devices.dtype(choice.dtype, device)
    catalog.check(choice)
    make = _rung if catalog.is_rung(choice.name) else _from_files
    return make(choice, device, dtype, report)


def _rung(choice: ModelChoice, device: torch.device, dtype: torch.dtype, _: Report | None) -> Model:
    """A rung of the ladder, with random weights that are made on the CPU in float32."""
    if choice.dtype in devices.PACKED:
        raise Mistake(f"{choice.dtype} is for models from files, not for {choice.name}; choose fp32, bf16 or fp16")
    words = tokenizer.load(choice.tokenizer)
    rung = ladder.rung(choice.name, words.vocab_size, choice.changes)
    if not 0 <= choice.weights_seed < 2**63:
        raise Mistake(f"the weights seed must be between 0 and 2^63 - 1, not {choice.weights_seed}")
    cure = "choose a smaller --embed-dim, --context or --blocks"
    _check_room(f"{rung.name} in these sizes", rung.config, torch.float32, device, cure)
    transformer = random_model(rung.config, choice.weights_seed).to(device, dtype)
    return _model(choice, rung.title, transformer, words, f"random weights, seed {choice.weights_seed}")


def _from_files(choice: ModelChoice, device: torch.device, dtype: torch.dtype, report: Report | None) -> Model:
    """A model from the files people have."""
    place = catalog.find(choice.name) or catalog.fetch(choice.name, report)
    words = vocabulary.load(place.path, choice.name)
    described = families.describe(place.path)
    _check_room(choice.name, described.config, dtype, device, "choose a smaller model, or --dtype bf16")
    transformer = weights.build(described, device, dtype, devices.PACKED.get(choice.dtype))
    return _model(choice, described.family, transformer, words, place.words)


def _model(choice: ModelChoice, title: str, transformer: Transformer, words: Tokenizer, origin: str) -> Model:
    info = ModelInfo(
        name=choice.name,
        title=title,
        parameters=transformer.config.parameter_count(),
        vocab_size=transformer.config.vocab_size,
        context=transformer.config.context,
        device=str(transformer.device),
        dtype=choice.dtype if choice.dtype in devices.PACKED else devices.dtype_name(transformer.dtype),
        tokenizer=words.name,
        weights=origin,
        choice=choice,
    )
    return Model(choice, info, transformer, words)


def _check_room(name: str, config: ModelConfig, dtype: torch.dtype, device: torch.device, cure: str) -> None:
    """Refuse sizes that the machine would be killed over."""
    needed = dtype.itemsize * config.parameter_count()
    for info in devices.devices():
        if info.name in ("cpu", str(device)) and info.memory_bytes and needed > 0.8 * info.memory_bytes:
            raise Mistake(
                f"{name} needs {needed / 1e9:.1f} GB; {info.name} has {info.memory_bytes / 1e9:.1f} GB; {cure}"
            )

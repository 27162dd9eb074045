"""Small models of transformers in which one setting of the family has another value than usual."""

import random
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import transformers
from reference_models import CASES, SCALED
from torch import Tensor

ROPE = (
    {"rope_type": "linear", "factor": 2.5},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 16, "attention_factor": 1.3},
    SCALED,
    {"rope_type": "default", "partial_rotary_factor": 0.5},
)
"""Scalings of rotary positions."""
WORDS = ("gelu", "relu", "silu", "gelu_new", "tanh", "sliding_attention", "full_attention", "layernorm", "other")
"""Values of settings that are text."""
ABSENT = (4, 0.7, True)
"""Values of settings that are null by default."""


def base(model_type: str) -> dict[str, Any]:
    """The settings of the first reference model of a family. Raises `StopIteration` where it has none."""
    return next(values for name, values in CASES.values() if config_class(name).model_type == model_type)


def config_class(name: str) -> Any:
    return getattr(transformers, f"{name}Config")


def varied_fields(model_type: str) -> list[str]:
    """The settings that the class of transformers documents for a family, without those of all its classes."""
    common = {field.name for field in fields(transformers.PreTrainedConfig)}
    return [
        field.name
        for field in fields(transformers.CONFIG_MAPPING[model_type])
        if field.name not in common and not field.name.startswith("_")
    ]


def other_values(name: str, value: Any, seed: int) -> Iterator[Any]:
    """Values unlike `value`, in an order by the seed; transformers refuses some of them."""
    numbers = random.Random(f"{name} {seed}")
    if name in ("rope_parameters", "rope_scaling"):
        choices = [{"rope_theta": numbers.choice((500.0, 1e5)), **each} for each in ROPE]
    elif isinstance(value, bool):
        choices = [not value]
    elif isinstance(value, int):
        choices = [2 * value, value + 1, max(1, value // 2), 1]
    elif isinstance(value, float):
        choices = [1.7 * value] if value else [0.37]
    elif isinstance(value, str):
        choices = [word for word in WORDS if word != value]
    elif isinstance(value, list | tuple) and value:
        choices = [[*value[1:], value[0]], [value[0]] * len(value), ["sliding_attention"] * len(value)]
    else:
        choices = list(ABSENT)
    numbers.shuffle(choices)
    yield from choices


def varied(model_type: str, changes: dict[str, Any], folder: Path) -> tuple[Any, Tensor] | None:
    """A model with some settings changed, saved in a folder, and its ids; None where transformers refuses it."""
    torch.manual_seed(0)
    try:
        config = transformers.CONFIG_MAPPING[model_type](**base(model_type) | changes)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.15 * torch.randn(parameter.shape))
        ids = torch.randint(0, min(40, config.vocab_size), (1, 21), generator=torch.Generator().manual_seed(3))
        with torch.inference_mode():
            logits = model(ids).logits
        model.save_pretrained(folder)
        (folder / "config.json").write_text(model.config.to_json_string(use_diff=False))
    except Exception:  # an impossible setting raises anything
        return None
    return (ids, logits) if logits.isfinite().all() else None

"""Models built from files, and changes to model folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.engine.model import Transformer
from core.errors import UserError
from core.loading import description, weights

CPU = torch.device("cpu")


def build(path: Path, dtype: torch.dtype = torch.float32) -> Transformer:
    return weights.build_model(description.describe(path), CPU, dtype)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        build(path)
    text = str(caught.value)
    assert text
    assert len(text.splitlines()) == 1
    return text


def equal(one: Transformer, other: Transformer) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = folder / "model.safetensors"
    save_file(change({name: value.contiguous() for name, value in load_file(path).items()}), path)


def reconfigure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))

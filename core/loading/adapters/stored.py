"""What an adapter's files hold, before it meets a model. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from core.formats.tensors import StoredTensor

Role = Literal[
    "down", "up", "up_bias", "magnitude", "embedding_down", "embedding_up", "weight", "bias"
]  # fmt: skip
"""What a tensor of an adapter is: A, B, the bias of B and DoRA's magnitude of a linear map; A and B of an embedding;
the weight or bias that takes the place of the model's own."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """The tensors for one module of the base."""

    module: str
    """The module's name in the files of the base, without the family's prefix."""
    tensors: Mapping[Role, StoredTensor]
    names: Mapping[Role, str]
    """The tensors' names in the file, for error texts."""
    factor: float
    """s, by which B·A is multiplied: α / r, or α / √r."""


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """An adapter as its files describe it."""

    source: str
    """The file that error texts name."""
    parts: tuple[StoredPart, ...]
    gguf: bool
    """Whether modules and rows are named and ordered as in GGUF files."""
    ranks: tuple[int, ...]
    """The ranks r that occur, in ascending order; empty where nothing is of low rank."""

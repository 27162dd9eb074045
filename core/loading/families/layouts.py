"""How files lay out a tensor other than we do, undone. Imports no torch: a layout calls methods of the tensor.

Our layout of a linear map is [out, in], of a head of rotary queries all first rows of the pairs, then all second ones.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from core.engine.config import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

Layout = Callable[["Tensor", ModelConfig], "Tensor"]
"""A weight or bias as a file has it → ours. For a matrix of a GGUF file it changes the order of rows only, whatever
their length is: it is also given rows of quantized blocks. It may fold numbers in, such as the 1 that Gemma adds to the
weight of a norm, in float32."""


def as_stored(tensor: "Tensor", config: ModelConfig) -> "Tensor":
    """The file's layout is ours."""
    return tensor


def transposed(tensor: "Tensor", config: ModelConfig) -> "Tensor":
    """From [in, out] (GPT-2's Conv1D) to [out, in]; a bias stays."""
    return tensor.t()


def pairs_apart(tensor: "Tensor", config: ModelConfig) -> "Tensor":
    """From the two rows of a rotary pair next to each other (GGUF's Llama, GPT-J) to all first, then all second ones.

    Where a part of each head is rotated, its other rows keep their places.
    """
    heads = tensor.unflatten(0, (-1, config.head_dim))  # [h, c, …]
    rotated = config.rope.size or config.head_dim
    if rotated == config.head_dim:
        return heads.unflatten(1, (-1, 2)).transpose(1, 2).flatten(0, 2)
    rows = [*range(0, rotated, 2), *range(1, rotated, 2), *range(rotated, config.head_dim)]
    return heads[:, rows].flatten(0, 1)


def one_more(tensor: "Tensor", config: ModelConfig) -> "Tensor":
    """From w to 1 + w in float32: Gemma multiplies by 1 + w in its norms."""
    return tensor.float() + 1


def kinds_apart(tensor: "Tensor", config: ModelConfig) -> "Tensor":
    """From the queries, key and value of one key head after the other to all queries, all keys and all values.

    GPT-NeoX, BLOOM and Falcon store them so.
    """
    from torch import cat  # noqa: PLC0415

    groups = tensor.view(config.kv_heads, config.group + 2, config.head_dim, *tensor.shape[1:])
    queries, keys, values = groups[:, :-2].flatten(0, 1), groups[:, -2], groups[:, -1]
    return cat((queries, keys, values)).flatten(0, 1)


def without_offset(tensor: "Tensor", config: ModelConfig) -> "Tensor":
    """Without the first two rows: OPT has position t in row t + 2."""
    return tensor[2:]


def one_row(tensor: "Tensor", config: ModelConfig) -> "Tensor":
    """From a vector to a matrix of one row."""
    return tensor.view(1, -1)


def neighbors_apart(tensor: "Tensor", config: ModelConfig) -> "Tensor":
    """From [in, 2m], in which the two halves of a gated MLP take turns (gpt-oss), to [2m, in], one after the other."""
    return neighboring_rows_apart(tensor.t(), config)  # a bias stays


def neighboring_rows_apart(tensor: "Tensor", config: ModelConfig) -> "Tensor":
    """From [2m, in], in which the rows of the two halves of a gated MLP take turns, to one half after the other."""
    return tensor.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1)


ROW_ORDERS = frozenset((as_stored, pairs_apart, kinds_apart, neighboring_rows_apart))
"""Those that put whole rows of a matrix in another order, and change nothing else."""

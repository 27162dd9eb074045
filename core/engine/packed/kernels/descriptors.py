"""The numpy record types through which Python gives addresses and sizes to the compiled code.

A field without a type is an int64. Addresses are bytes in memory; an optional tensor that is absent has address 0.
"""

import numpy as np

GROUP = 32
"""Neighbouring weights of a row, or neighbouring activations, that share a scale."""
BLOCK_ROWS = 32
"""Rows of an int4 matrix that are stored together; also the rows of one unit of work of a thread."""

SILU, GELU, GELU_TANH, RELU = range(4)
"""Values of `TASK.activation`."""


def _record(*names: str, **more: np.dtype) -> np.dtype:
    return np.dtype([*((name, np.dtype(np.int64)) for name in names), *more.items()])


def groups_of(columns: int) -> int:
    """How many groups a row of `columns` numbers has; the last one may be partial."""
    return -(-columns // GROUP)


MATRIX = _record("bits", "rows", "columns", "weights", "scales", "bias")
"""A packed linear map: sizes, and the addresses of its tensors.

For 8 bits: `weights` int8 [rows, groups · GROUP], `scales` bfloat16 [rows]. For 4 bits see `quantize.pack_int4`.
`bias` is float32 [rows].
"""
ACTIVATIONS = _record("values", "scales", "scaled_sums", "offsets", "planes")
"""Addresses of quantized activations.

`values` int16 [groups, GROUP]. For each group: `scales` float32, `scaled_sums` float32 (the sum of the values times the
scale), `offsets` int32 (8 times the sum), `planes` int8 [2, GROUP] (the values' high and low bytes, AVX2 only).
"""
BLOCK = _record(
    *("norm1", "norm1_bias", "norm2", "norm2_bias", "q_norm", "k_norm", "keys", "values"),
    **dict.fromkeys(("qkv", "out", "up", "down"), MATRIX),
)
"""One transformer block: addresses of float32 norm weights and of its KV cache [kv_heads, capacity, head_dim]."""
TASK = _record(
    # the model
    *("width", "heads", "kv_heads", "head_dim", "mlp_dim", "gated", "activation", "layer_norm"),
    *("embedding", "embedding_scales", "positions", "norm", "norm_bias"),
    # the KV cache: positions it has room for; the table of rotary angles and its length
    *("capacity", "angles", "angle_count"),
    # float32 work space: residual stream, its norm, outputs of the matrices, outputs of the heads, attention scores
    *("residual", "normed", "projected", "attended", "scores"),
    # this call: 1 to use AVX2; threads; token id and its position; input states, how many, output of the head
    *("avx2", "threads", "token", "position", "state", "states", "logits"),
    eps=np.dtype(np.float64),
    head=MATRIX,
    x=ACTIVATIONS,
    y=ACTIVATIONS,
)
"""One call of `scheduler.step`: what all blocks share, work space, and the token.

`x` holds the quantized inputs of the qkv, up and head matrices, `y` those of the out and down matrices.
"""

PROGRESS_WORDS = 24
"""int64 words of the memory through which threads agree on work: three cache lines."""
DONE, LEADER_WAITS = 8, 16
"""Words of that memory: units of the stage that are done; 1 once the leader has given up on help.

Word 0 has the stage in its high 32 bits and the units claimed so far in its low 32 bits.
"""

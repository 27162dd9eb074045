"""The numpy record types through which Python gives addresses and sizes to the compiled code.

A field without a type is an int64. Addresses are bytes in memory; an optional tensor that is absent has address 0.
"""

import numpy as np

GROUP = 32
"""Neighbouring activations that share a scale."""
UNIT_ROWS = 32
"""Rows of one unit of work of a thread."""

TILES_AT_ONCE = 4
"""Tiles of `native.tiles` that are unpacked together, for one block of vectors after the other."""
TILE_GROUPS = 64
"""Groups that they have at most: they and a block of vectors stay in the level-2 cache."""

SILU, GELU, GELU_TANH, RELU = range(4)
"""Values of `TASK.activation`."""


def _record(*names: str, **more: np.dtype) -> np.dtype:
    return np.dtype([*((name, np.dtype(np.int64)) for name in names), *more.items()])


def groups_of(columns: int) -> int:
    """How many groups a row of `columns` numbers has; the last one may be partial."""
    return -(-columns // GROUP)


MATRIX = _record(
    *("rows", "stride", "weights", "order", "group", "minimums", "multiply", "unpack", "expand", "tile"),
)
"""A matrix of blocks as a file has them: rows of `stride` bytes at `weights`.

`order` is 0 or the address of int64 [rows]: our row n is its row `order[n]`. `group` neighbours share a scale; 0 means
that rows are plain numbers, which are multiplied by activations that are not quantized. `minimums`: see
`native.tiles.tile`. Then the addresses of machine code: `multiply` and `unpack` of `native.rows`, `expand` and `tile`
of `native.tiles`.
"""
LINEAR = _record("first", "count", "rows", "columns", "bias")
"""A linear map: its rows are those of `count` matrices from number `first` on; `bias` is float32 [rows] or absent."""
ACTIVATIONS = _record("even", "odd", "scales", "sums", "sums16")
"""Addresses of quantized activations: 15-bit integers times the scale of their group.

`even` and `odd` int16 [groups, GROUP / 2]: those with even and with odd numbers; `scales` and `sums` (of the rounded x)
float32 [groups]; `sums16` the sums of each 16, float32 [2 groups]. For several vectors at once see `native.tiles`.
"""
BLOCK = _record(
    *("norm1", "norm1_bias", "norm2", "norm2_bias", "q_norm", "k_norm", "keys", "values"),
    **dict.fromkeys(("qkv", "out", "up", "down"), LINEAR),
)
"""One transformer block: addresses of float32 norm weights and of its KV cache [kv_heads, capacity, head_dim]."""
TASK = _record(
    # the model
    *("width", "heads", "kv_heads", "head_dim", "mlp_dim", "gated", "activation", "layer_norm"),
    *("embedding", "positions", "norm", "norm_bias"),
    # the KV cache: positions it has room for; the table of rotary angles and its length
    *("capacity", "angles", "angle_count"),
    # float32 work space: residual stream, its norm, outputs of the matrices, outputs of the heads, attention scores
    *("residual", "normed", "projected", "second", "attended", "scores"),
    # machine code of `native.tiles`; work space for tiles: address, and bytes for each thread
    *("quantize", "transpose", "tiles", "tile_size"),
    # this call: threads; token id and its position; input states, how many, whether by tiles, output of the head
    *("threads", "token", "position", "state", "states", "tiled", "logits"),
    eps=np.dtype(np.float64),
    head=LINEAR,
    x=ACTIVATIONS,
    y=ACTIVATIONS,
)
"""One call of `scheduler.step`: what all blocks share, work space, and the token.

`x` holds the quantized inputs of the qkv, up and head matrices, `y` those of the out and down matrices. `embedding` is
the number of its matrix.
"""

PROGRESS_WORDS = 24
"""int64 words of the memory through which threads agree on work: three cache lines."""
DONE, LEADER_WAITS = 8, 16
"""Words of that memory: units of the stage that are done; 1 once the leader has given up on help.

Word 0 has the stage in its high 32 bits and the units claimed so far in its low 32 bits.
"""

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

SILU, GELU, GELU_TANH, RELU, SIGMOID, CLAMPED, IDENTITY = range(7)
"""Values of `STAGE.activation`; CLAMPED is `experts.ClampedGate`."""

EMBED, NORM, SCALE, ADD, ACTIVATE, QUANTIZE, ROTATE, CACHE, CHOOSE = range(9)
"""Kinds of stages that one thread computes alone: too little work to share. Their `units` are 0."""
PRODUCT, ATTEND, STATES, TILES = range(9, 13)
"""Kinds of stages whose units the threads share."""


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
ACTIVATIONS = _record("first", "second", "scales", "sums", "sums16")
"""Addresses of quantized activations: 15-bit integers times the scale of their group.

`first` and `second` are two planes of 32 bytes for each group, see `native.tiles.quantize`; `scales` and `sums` (of the
rounded x) float32 [groups]; `sums16` the sums of each 16, float32 [2 groups]. For several vectors at once see
`native.tiles`.
"""
STAGE = _record(
    *("kind", "units"),
    # float32 vectors: addresses of the first one read and the first one written, how many there are, numbers in one,
    # bytes between those read, and between those written
    *("source", "target", "vectors", "count", "source_apart", "target_apart"),
    # NORM: addresses of weight and bias; EMBED and PRODUCT: number of a matrix, or of a linear map
    *("weight", "bias", "layer_norm", "matrix", "linear"),
    # PRODUCT: see `kernels.stages`
    *("rows", "halves", "slots", "groups_apart", "activation", "gated", "residual", "quantized"),
    # experts: int64 numbers of the chosen ones, float32 weights of their outputs; whether these sum to 1
    *("chosen", "weights", "normalized"),
    # attention: addresses of keys and values, float32 [kv_heads, capacity, head_dim], of work space for scores
    # [heads, capacity], of a score per head and of one per head and position, which may be absent; positions seen
    *("keys", "values", "scores", "sinks", "alibi", "window"),
    # ROTATE: address of cosines and sines [2, length, count], and that length
    *("table", "length"),
    # where the weights of the next product begin, and where to stop prefetching them
    *("ahead", "ahead_end"),
    **dict.fromkeys(("eps", "factor", "cap", "limit"), np.dtype(np.float64)),
    **dict.fromkeys(("x", "y"), ACTIVATIONS),
)
"""One stage of a call: its kind, how many units of work it has, and its operands; a kind uses only some of them.

`x` holds the quantized inputs of a product, or what QUANTIZE and STATES write; `y` the quantized outputs of a product.
"""
TASK = _record(
    # attention: sizes, and the positions that the KV cache has room for
    *("heads", "kv_heads", "head_dim", "capacity"),
    # machine code of `native.tiles`; work space for tiles: address, and bytes for each thread
    *("quantize", "transpose", "tiles", "tile_size"),
    # this call: threads; token id and its position; for tiles: how many states, and their outputs
    *("threads", "token", "position", "states", "tiled", "logits"),
    head=LINEAR,
    x=ACTIVATIONS,
    y=ACTIVATIONS,
)
"""One call of `scheduler.step`: what all its stages share. `head` and `x` are the operands of TILES."""

PROGRESS_WORDS = 16
"""int64 words of the memory through which threads agree on work: two cache lines."""
DONE = 8
"""The word of that memory that counts the units of the stage that are done.

Word 0 has the stage in its high 32 bits and the units claimed so far in its low 32 bits.
"""

"""The stages of one token: five for each transformer block, two for the unembedding.

Each stage has units of work that any thread may do, in any order. Before a stage one thread prepares it: that is too
little work to share. `model` is a `TASK`, `blocks` an array of `BLOCK`, `stage` counts over all blocks.

    stage of a block   units                  prepared before it
    QKV                32 rows of the matrix  norm, quantized (first block: the token's embedding)
    HEADS              attention heads        rotary positions of the keys; keys and values into the cache
    OUT                32 rows                the heads' outputs, quantized
    UP                 32 hidden numbers      norm, quantized
    DOWN               32 rows                (UP quantizes its outputs itself)
    after the last:
    QUANTIZE           states                 the final norm
    LOGITS             32 rows
"""

import math

import numpy as np
from numba import carray

from core.engine.packed.kernels.activations import quantize
from core.engine.packed.kernels.descriptors import BLOCK_ROWS, GROUP
from core.engine.packed.kernels.elementwise import activate, exp, normalize
from core.engine.packed.kernels.emit import bfloat16_to_float, compiled, floats, pointer
from core.engine.packed.kernels.products import multiply

STAGES = 5
QKV, HEADS, OUT, UP, DOWN = range(STAGES)
"""Stages of a transformer block."""
HEAD_STAGES = 2
QUANTIZE, LOGITS = range(HEAD_STAGES)
"""Stages of the unembedding."""
STATES_AT_ONCE = 8
"""States that are multiplied by the same rows one after the other: they and the rows stay in the level-2 cache."""


# Attention -----------------------------------------------------------------------------------------------------------


@compiled
def _rotate(x, position, model):
    """Rotary positions of one head [head_dim], in place."""
    width = model.head_dim
    angles = carray(pointer(model.angles), (2, model.angle_count, width), np.float32)
    cos, sin = angles[0, position], angles[1, position]
    for n in range(width // 2):
        a, b = x[n], x[n + width // 2]
        x[n] = a * cos[n] + b * sin[n]
        x[n + width // 2] = b * cos[n + width // 2] + a * sin[n + width // 2]


@compiled
def _cache_keys_and_values(block, model):
    """Write the token's keys and values to its position in the cache."""
    width, heads, position = model.head_dim, model.kv_heads, model.position
    for head in range(heads):
        key = floats(model.projected + 4 * (model.heads + head) * width, width)
        value = floats(model.projected + 4 * (model.heads + heads + head) * width, width)
        if block.k_norm:
            normalize(key, block.k_norm, 0, model.eps, 0)
        if model.angles:
            _rotate(key, position, model)
        for address, numbers in ((block.keys, key), (block.values, value)):
            past = carray(pointer(address), (heads, model.capacity, width), np.float32)
            for n in range(width):
                past[head, position, n] = numbers[n]


@compiled
def _attend(head, block, model):
    """softmax(q kᵀ / √head_dim) v for one head, over all cached positions."""
    width, position, count = model.head_dim, model.position, model.position + 1
    kv_head = head // (model.heads // model.kv_heads)
    query = floats(model.projected + 4 * head * width, width)
    output = floats(model.attended + 4 * head * width, width)
    if block.q_norm:
        normalize(query, block.q_norm, 0, model.eps, 0)
    if model.angles:
        _rotate(query, position, model)
    keys = carray(pointer(block.keys), (model.kv_heads, model.capacity, width), np.float32)[kv_head]
    values = carray(pointer(block.values), (model.kv_heads, model.capacity, width), np.float32)[kv_head]
    scores = floats(model.scores + 4 * head * model.capacity, count)
    maximum, scale = np.float32(-3e38), np.float32(1 / math.sqrt(width))
    for t in range(count):
        dot = np.float32(0)
        for n in range(width):
            dot += query[n] * keys[t, n]
        scores[t] = dot * scale
        maximum = max(maximum, scores[t])
    total = np.float32(0)
    for t in range(count):
        scores[t] = exp(scores[t] - maximum)
        total += scores[t]
    output[:] = 0
    for t in range(count):
        weight = scores[t] / total
        for n in range(width):
            output[n] += weight * values[t, n]


# Stages --------------------------------------------------------------------------------------------------------------


@compiled
def _row_units(rows):
    return (rows + BLOCK_ROWS - 1) // BLOCK_ROWS


@compiled
def matrix_of(stage, model, blocks):
    """The `MATRIX` that a stage multiplies by."""
    if stage >= STAGES * len(blocks):
        return model.head
    block, part = blocks[stage // STAGES], stage % STAGES
    return block.qkv if part == QKV else block.out if part == OUT else block.up if part == UP else block.down


@compiled
def units_of(stage, model, blocks):
    """How many units of work a stage has; -1 is the stage before the first."""
    if stage < 0:
        return 0
    if stage == STAGES * len(blocks) + QUANTIZE:
        return model.states
    part = stage % STAGES
    if stage < STAGES * len(blocks):
        if part == HEADS:
            return model.heads
        if part == UP:
            return _row_units(model.mlp_dim)
    return _row_units(matrix_of(stage, model, blocks).rows)


@compiled
def _embed(model):
    """The token's embedding, and that of its position where positions are learned."""
    width = model.width
    residual = floats(model.residual, width)
    row = (width + GROUP - 1) // GROUP * GROUP  # bytes
    weights = carray(pointer(model.embedding + model.token * row), (width,), np.int8)
    scale = bfloat16_to_float(carray(pointer(model.embedding_scales + 2 * model.token), (1,), np.uint16)[0])
    for n in range(width):
        residual[n] = scale * np.float32(weights[n])
    if model.positions:
        position = floats(model.positions + 4 * model.position * width, width)
        for n in range(width):
            residual[n] += position[n]


@compiled
def prepare(stage, model, blocks):
    """What one thread does before a stage; nothing without blocks, where the caller gives the states."""
    width, part, final = model.width, stage % STAGES, stage == STAGES * len(blocks)
    if stage > STAGES * len(blocks) or len(blocks) == 0:
        return
    if final or part in (QKV, UP):
        if stage == 0:
            _embed(model)
        residual, normed = floats(model.residual, width), floats(model.normed, width)
        for n in range(width):
            normed[n] = residual[n]
        norm, bias = model.norm, model.norm_bias
        if not final:
            block = blocks[stage // STAGES]
            norm, bias = (block.norm1, block.norm1_bias) if part == QKV else (block.norm2, block.norm2_bias)
        normalize(normed, norm, bias, model.eps, model.layer_norm)
        if final:
            state = floats(model.state, width)
            for n in range(width):
                state[n] = normed[n]
        else:
            quantize(model.normed, width, model.x, 0)
    elif part == HEADS:
        _cache_keys_and_values(blocks[stage // STAGES], model)
    elif part == OUT:
        quantize(model.attended, model.heads * model.head_dim, model.y, 0)


@compiled
def _multiply(stage, first, last, model, blocks):
    """Units `first` to `last` of a product: for all states in LOGITS, for gates and values in a gated UP.

    The gates are the first `mlp_dim` rows of the matrix, the values the others.
    """
    part, head, matrix = stage % STAGES, stage >= STAGES * len(blocks), matrix_of(stage, model, blocks)
    x = model.y if part in (OUT, DOWN) and not head else model.x
    repeats, rows, groups_apart, rows_apart, outputs_apart, at_once = 1, matrix.rows, 0, 0, 0, last - first
    out = model.projected
    if head:
        repeats, at_once, out = model.states, 1, model.logits
        groups_apart, outputs_apart = (matrix.columns + GROUP - 1) // GROUP, rows
    elif part == UP:
        repeats, rows, rows_apart = 1 + model.gated, model.mlp_dim, model.mlp_dim
    for some in range(0, repeats, STATES_AT_ONCE):
        for unit in range(first, last, at_once):
            start, end = unit * BLOCK_ROWS, min((unit + at_once) * BLOCK_ROWS, rows)
            for n in range(some, min(some + STATES_AT_ONCE, repeats)):
                skip = n * rows_apart
                to = out + 4 * n * outputs_apart
                multiply(model.avx2, matrix, x, n * groups_apart, skip + start, skip + end, to)


@compiled
def _finish(part, first, last, model):
    """What follows a product, for outputs `first` to `last`: the activation, or adding to the residual stream."""
    count = last - first
    outputs = floats(model.projected + 4 * first, count)
    if part == UP:
        activate(outputs, model.activation)
        if model.gated:
            values = floats(model.projected + 4 * (model.mlp_dim + first), count)
            for n in range(count):
                outputs[n] *= values[n]
    elif part in (OUT, DOWN):
        residual = floats(model.residual + 4 * first, count)
        for n in range(count):
            residual[n] += outputs[n]


@compiled
def compute(stage, first, last, model, blocks):
    """Units `first` to `last` of a stage."""
    part, final = stage % STAGES, STAGES * len(blocks)
    if stage < final and part == HEADS:
        for n in range(first, last):
            _attend(n, blocks[stage // STAGES], model)
    elif stage != final + QUANTIZE:
        _multiply(stage, first, last, model, blocks)
        if stage < final:
            rows = model.mlp_dim if part == UP else matrix_of(stage, model, blocks).rows
            _finish(part, first * BLOCK_ROWS, min(last * BLOCK_ROWS, rows), model)
    if stage == final + QUANTIZE:
        groups = (model.head.columns + GROUP - 1) // GROUP
        for n in range(first, last):
            quantize(model.state + 4 * n * model.head.columns, model.head.columns, model.x, n * groups)
    elif stage < final and part == UP:
        start, end = first * BLOCK_ROWS, min(last * BLOCK_ROWS, model.mlp_dim)
        quantize(model.projected + 4 * start, end - start, model.y, start // GROUP)

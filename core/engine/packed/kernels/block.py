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

from core.engine.packed.kernels.descriptors import GROUP, UNIT_ROWS
from core.engine.packed.kernels.elementwise import activate, exp, normalize
from core.engine.packed.kernels.emit import call, compiled, floats, pointer
from core.engine.packed.kernels.native.tiles import VECTORS
from core.engine.packed.kernels.products import (
    groups_of,
    multiply,
    multiply_tiles,
    quantize,
    row_address,
    tile_units,
)

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
    return (rows + UNIT_ROWS - 1) // UNIT_ROWS


@compiled
def linear_of(stage, model, blocks):
    """The `LINEAR` that a stage multiplies by."""
    if stage >= STAGES * len(blocks):
        return model.head
    block, part = blocks[stage // STAGES], stage % STAGES
    return block.qkv if part == QKV else block.out if part == OUT else block.up if part == UP else block.down


@compiled
def units_of(stage, model, blocks, matrices):
    """How many units of work a stage has; -1 is the stage before the first."""
    if stage < 0:
        return 0
    if stage == STAGES * len(blocks) + QUANTIZE:
        return model.states
    if stage == STAGES * len(blocks) + LOGITS and model.tiled:
        return tile_units(model.head, matrices)
    part = stage % STAGES
    if stage < STAGES * len(blocks):
        if part == HEADS:
            return model.heads
        if part == UP:
            return _row_units(model.mlp_dim)
    return _row_units(linear_of(stage, model, blocks).rows)


@compiled
def _embed(model, matrices):
    """The token's embedding, and that of its position where positions are learned."""
    width, matrix = model.width, matrices[model.embedding]
    residual = floats(model.residual, width)
    if matrix.group == 0:
        call(matrix.unpack, (row_address(matrix, model.token), width, model.residual, 0, 0))
    else:
        groups, space = groups_of(width), model.normed
        count = groups * GROUP // matrix.group
        scales = space + GROUP * groups
        minimums = scales + 4 * count
        call(matrix.unpack, (row_address(matrix, model.token), groups, space, scales, minimums))
        quants = carray(pointer(space), (GROUP * groups,), np.uint8)
        factors, added = floats(scales, count), floats(minimums, count)
        for n in range(width):
            group = n // matrix.group
            residual[n] = factors[group] * np.float32(quants[n]) + added[group]
    if model.positions:
        position = floats(model.positions + 4 * model.position * width, width)
        for n in range(width):
            residual[n] += position[n]


@compiled
def prepare(stage, model, blocks, matrices):
    """What one thread does before a stage; nothing without blocks, where the caller gives the states."""
    width, part, final = model.width, stage % STAGES, stage == STAGES * len(blocks)
    if stage > STAGES * len(blocks) or len(blocks) == 0:
        return
    if final or part in (QKV, UP):
        if stage == 0:
            _embed(model, matrices)
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
            quantize(model.quantize, model.normed, width, 4, model.x, 0, 0)
    elif part == HEADS:
        _cache_keys_and_values(blocks[stage // STAGES], model)
    elif part == OUT:
        quantize(model.quantize, model.attended, model.heads * model.head_dim, 4, model.y, 0, 0)


@compiled
def _multiply(stage, first, last, model, blocks, matrices):
    """Units `first` to `last` of a product: for all states in LOGITS, for gates and values in a gated UP.

    The gates are the first `mlp_dim` rows of the map, the values the others.
    """
    part, head, linear = stage % STAGES, stage >= STAGES * len(blocks), linear_of(stage, model, blocks)
    x, plain = model.x, model.normed
    if part in (OUT, DOWN) and not head:
        x, plain = model.y, model.attended if part == OUT else model.projected
    repeats, rows, groups_apart, rows_apart, outputs_apart, plain_apart = 1, linear.rows, 0, 0, 0, 0
    out = model.second if part == DOWN else model.projected
    if head:
        repeats, out, plain = model.states, model.logits, model.state
        groups_apart, outputs_apart, plain_apart = groups_of(linear.columns), rows, linear.columns
    elif part == UP:
        repeats, rows, rows_apart = 1 + model.gated, model.mlp_dim, model.mlp_dim
    for unit in range(first, last):
        start, end = unit * UNIT_ROWS, min((unit + 1) * UNIT_ROWS, rows)
        for n in range(repeats):
            skip = n * rows_apart
            to, vector = out + 4 * n * outputs_apart, plain + 4 * n * plain_apart
            multiply(linear, matrices, vector, x, n * groups_apart, skip + start, skip + end, to)


@compiled
def _finish(part, first, last, model):
    """What follows a product, for outputs `first` to `last`: the activation, or adding to the residual stream."""
    count = last - first
    outputs = floats((model.second if part == DOWN else model.projected) + 4 * first, count)
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
def _quantize_states(first, last, model):
    """States for the product with the head: one after the other, or in blocks for tiles."""
    columns = model.head.columns
    groups = groups_of(columns)
    for n in range(first, last):
        at, near, offset = n * groups, 4, 0
        if model.tiled:
            at, near, offset = n // VECTORS * groups, 4 * VECTORS, 4 * (n % VECTORS)
        quantize(model.quantize, model.state + 4 * n * columns, columns, near, model.x, at, offset)


@compiled
def compute(stage, first, last, thread, model, blocks, matrices):
    """Units `first` to `last` of a stage."""
    part, final = stage % STAGES, STAGES * len(blocks)
    if stage == final + QUANTIZE:
        _quantize_states(first, last, model)
    elif stage > final and model.tiled:
        multiply_tiles(model, matrices, first, last, thread)
    elif stage < final and part == HEADS:
        for n in range(first, last):
            _attend(n, blocks[stage // STAGES], model)
    else:
        _multiply(stage, first, last, model, blocks, matrices)
        if stage < final:
            rows = model.mlp_dim if part == UP else linear_of(stage, model, blocks).rows
            _finish(part, first * UNIT_ROWS, min(last * UNIT_ROWS, rows), model)
    if stage < final and part == UP:
        start, end = first * UNIT_ROWS, min(last * UNIT_ROWS, model.mlp_dim)
        quantize(model.quantize, model.projected + 4 * start, end - start, 4, model.y, start // GROUP, 0)

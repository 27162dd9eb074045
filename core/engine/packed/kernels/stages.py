"""What the stages of a call compute, one after the other: an array of `STAGE`, made by `core.engine.packed.program`.

A stage whose `units` are 0 is computed by one thread alone, in `alone`: norms, activations to 15 bits, rotations, the
choice of experts. The units of another are claimed by any thread, in any order, and computed in `share`:

    kind      a unit is
    PRODUCT   up to 32 rows of a linear map, and what follows for these outputs
    ATTEND    an attention head
    STATES    a state, to 15 bits, for a product with several states
    TILES     32 rows, for all states

A PRODUCT has one of two forms. Into an MLP: each of the `slots` chosen experts (1 without experts) has units of its
own, and `halves` are a gate and a value. Any other: a unit computes its rows for each of the `vectors` inputs, which
are several states, or the inner states of the chosen experts.
"""

import numpy as np
from numba import carray

from core.engine.packed.kernels.attention import attend, cache, rotate
from core.engine.packed.kernels.descriptors import (
    ACTIVATE,
    ADD,
    ATTEND,
    CACHE,
    CHOOSE,
    CLAMPED,
    EMBED,
    GROUP,
    IDENTITY,
    NORM,
    PRODUCT,
    QUANTIZE,
    ROTATE,
    SCALE,
    STATES,
    TILES,
    UNIT_ROWS,
)
from core.engine.packed.kernels.elementwise import activate, cap, choose, clamped_gate, normalize
from core.engine.packed.kernels.emit import call, compiled, floats, pointer
from core.engine.packed.kernels.native.tiles import VECTORS
from core.engine.packed.kernels.products import begin, groups_of, multiply, multiply_tiles, quantize, row_address

# Alone ---------------------------------------------------------------------------------------------------------------


@compiled
def _embed(stage, model, matrices):
    """The token's row of the embedding; `source` is work space."""
    width, matrix, target = stage.count, matrices[stage.matrix], floats(stage.target, stage.count)
    if matrix.group == 0:
        call(matrix.unpack, (row_address(matrix, model.token), width, stage.target, 0, 0))
    else:
        groups, space = groups_of(width), stage.source
        count = groups * GROUP // matrix.group
        scales = space + GROUP * groups
        minimums = scales + 4 * count
        call(matrix.unpack, (row_address(matrix, model.token), groups, space, scales, minimums))
        quants = carray(pointer(space), (GROUP * groups,), np.uint8)
        factors, added = floats(scales, count), floats(minimums, count)
        for n in range(width):
            group = n // matrix.group
            target[n] = factors[group] * np.float32(quants[n]) + added[group]


@compiled
def _choose(stage):
    """The experts with the highest scores, and their weights."""
    chosen = carray(pointer(stage.chosen), (stage.vectors,), np.int64)
    choose(floats(stage.source, stage.count), chosen, floats(stage.weights, stage.vectors), stage.normalized)


@compiled
def alone(stage, model, matrices):
    """A stage that one thread computes."""
    kind, count = stage.kind, stage.count
    if kind == NORM:
        for n in range(stage.vectors):
            x, normed = floats(stage.source + 4 * n * count, count), floats(stage.target + 4 * n * count, count)
            normalize(x, normed, stage.weight, stage.bias, stage.eps, stage.layer_norm)
    elif kind == QUANTIZE:
        quantize(model.quantize, stage.source, count, 4, stage.x, 0, 0)
    elif kind == ROTATE:
        rotate(stage, model)
    elif kind == CACHE:
        cache(stage, model)
    elif kind == EMBED:
        _embed(stage, model, matrices)
    elif kind == SCALE:
        x, target, factor = floats(stage.source, count), floats(stage.target, count), np.float32(stage.factor)
        for n in range(count):
            target[n] = factor * x[n]
    elif kind == ADD:
        x, target = floats(stage.source + model.position * stage.source_apart, count), floats(stage.target, count)
        for n in range(count):
            target[n] += x[n]
    elif kind == ACTIVATE:
        activate(floats(stage.target, count), stage.activation)
    elif kind == CHOOSE:
        _choose(stage)


# Shared --------------------------------------------------------------------------------------------------------------


@compiled
def _linear_map(stage, slot):
    """The number of the linear map of a chosen expert; without experts, of the only one."""
    if stage.chosen:
        return stage.linear + carray(pointer(stage.chosen), (slot + 1,), np.int64)[slot]
    return stage.linear


@compiled
def _finish(stage, model, slot, start, end):
    """What follows a product, for its outputs `start` to `end` of one slot."""
    count, first = end - start, stage.target + slot * stage.target_apart + 4 * start
    outputs = floats(first, count)
    if stage.gated:
        values = floats(first + 4 * stage.rows, count)
        if stage.activation == CLAMPED:
            clamped_gate(outputs, values, np.float32(stage.limit))
        else:
            activate(outputs, stage.activation)
            for n in range(count):
                outputs[n] *= values[n]
    elif stage.activation != IDENTITY:
        activate(outputs, stage.activation)
    if stage.cap:
        cap(outputs, np.float32(stage.cap))
    if stage.residual:
        residual = floats(stage.residual + 4 * start, count)
        for vector in range(stage.vectors):
            factor, added = np.float32(stage.factor), floats(first + vector * stage.target_apart, count)
            if stage.weights:
                factor *= floats(stage.weights, stage.vectors)[vector]
            for n in range(count):
                residual[n] += factor * added[n]
    if stage.quantized:
        group = slot * groups_of(stage.rows) + start // GROUP
        quantize(model.quantize, first, count, 4, stage.y, group, 0)


@compiled
def _multiply(first, last, stage, model, linears, matrices):
    """Units `first` to `last` of a product."""
    units = (stage.rows + UNIT_ROWS - 1) // UNIT_ROWS
    for unit in range(first, last):
        slot, start = unit // units, unit % units * UNIT_ROWS
        end = min(start + UNIT_ROWS, stage.rows)
        for n in range(stage.vectors * stage.halves):
            vector, skip = n // stage.halves, n % stage.halves * stage.rows
            plain, out = stage.source + vector * stage.source_apart, stage.target + (slot + vector) * stage.target_apart
            linear = linears[_linear_map(stage, slot + vector)]
            if unit == first:
                begin(linear, matrices, skip + start, skip + end)
            group = vector * stage.groups_apart
            multiply(linear, matrices, plain, stage.x, group, skip + start, skip + end, out)
        _finish(stage, model, slot, start, end)


@compiled
def _quantize_states(first, last, stage, model):
    """One after the other, or in blocks for tiles."""
    groups = groups_of(stage.count)
    for n in range(first, last):
        at, near, offset = n * groups, 4, 0
        if model.tiled:
            at, near, offset = n // VECTORS * groups, 4 * VECTORS, 4 * (n % VECTORS)
        quantize(model.quantize, stage.source + n * stage.source_apart, stage.count, near, stage.x, at, offset)


@compiled
def share(first, last, thread, stage, model, linears, matrices):
    """Units `first` to `last` of a stage that threads share."""
    if stage.kind == PRODUCT:
        _multiply(first, last, stage, model, linears, matrices)
    elif stage.kind == ATTEND:
        for n in range(first, last):
            attend(n, stage, model)
    elif stage.kind == STATES:
        _quantize_states(first, last, stage, model)
    elif stage.kind == TILES:
        multiply_tiles(stage, model, matrices, first, last, thread)

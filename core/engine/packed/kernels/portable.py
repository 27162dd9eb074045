"""Products of packed weights with one vector of quantized activations, on any processor."""

import numpy as np
from numba import carray

from core.engine.packed.kernels.descriptors import BLOCK_ROWS, GROUP
from core.engine.packed.kernels.emit import bfloat16_to_float, compiled, floats, pointer


@compiled
def int4_block(weights, scales, x, first, groups, out):
    """One block of 32 rows of an int4 product, to float32 [32] at `out`.

    `weights` and `scales` are addresses of the block's part of what `quantize.pack_int4` made; `first` is the group of
    the `ACTIVATIONS` `x` at which the vector begins.
    """
    values = carray(pointer(x.values + 2 * GROUP * first), (groups, GROUP // 4, 4), np.int16)
    x_scales, scaled_sums = floats(x.scales + 4 * first, groups), floats(x.scaled_sums + 4 * first, groups)
    offsets = carray(pointer(x.offsets + 4 * first), (groups,), np.int32)
    packed = carray(pointer(weights), (groups, GROUP // 4, 2, 32), np.uint8)
    pairs = carray(pointer(scales), (groups, BLOCK_ROWS, 2), np.uint16)
    result = floats(out, BLOCK_ROWS)
    sums, repeated = np.empty((2, 2, 32), np.int32), np.empty(32, np.int16)
    result[:] = 0
    for group in range(groups):
        sums[:] = 0
        for quad in range(GROUP // 4):
            for n in range(32):
                repeated[n] = values[group, quad, n & 3]
            for register in range(2):
                for n in range(32):
                    byte = np.int32(packed[group, quad, register, n])
                    sums[register, 0, n] += np.int32(np.int32(repeated[n]) * np.int32(byte & 15))
                    sums[register, 1, n] += np.int32(np.int32(repeated[n]) * np.int32(byte >> 4))
        for register in range(2):
            for half in range(2):
                for lane in range(8):
                    row = 16 * register + 8 * half + lane
                    dot = -offsets[group]
                    for n in range(4 * lane, 4 * lane + 4):
                        dot = np.int32(dot + sums[register, half, n])
                    result[row] += bfloat16_to_float(pairs[group, row, 1]) * scaled_sums[group]
                    scale = bfloat16_to_float(pairs[group, row, 0]) * x_scales[group]
                    result[row] += scale * np.float32(dot)


@compiled
def _int8_row(weights, x, first, groups):
    """One row of an int8 product without its scale."""
    values = carray(pointer(x.values + 2 * GROUP * first), (groups, GROUP), np.int16)
    x_scales = floats(x.scales + 4 * first, groups)
    row = carray(pointer(weights), (groups, GROUP), np.int8)
    total = np.float32(0)
    for group in range(groups):
        dot = np.int32(0)
        for n in range(GROUP):
            dot = np.int32(dot + np.int32(np.int32(row[group, n]) * np.int32(values[group, n])))
        total += np.float32(dot) * x_scales[group]
    return total


@compiled
def int8_rows(weights, stride, x, first, groups):
    """Four rows of an int8 product without their scales; `weights` is an address, rows are `stride` bytes apart."""
    return (
        _int8_row(weights, x, first, groups),
        _int8_row(weights + stride, x, first, groups),
        _int8_row(weights + 2 * stride, x, first, groups),
        _int8_row(weights + 3 * stride, x, first, groups),
    )

"""Rows of a packed matrix times one vector of quantized activations, by the code for this processor."""

import numpy as np
from numba import carray

from core.engine.packed.kernels import portable
from core.engine.packed.kernels.descriptors import BLOCK_ROWS, GROUP
from core.engine.packed.kernels.emit import AVX2, bfloat16_to_float, compiled, floats, pointer, stack_floats

if AVX2:
    from core.engine.packed.kernels import avx2

    @compiled
    def _int4_block(use_avx2, weights, scales, x, first, groups, out):
        if use_avx2:
            avx2.int4_block(weights, scales, x, first, groups, out)
        else:
            portable.int4_block(weights, scales, x, first, groups, out)

    @compiled
    def _int8_rows(use_avx2, weights, stride, x, first, groups):
        if use_avx2:
            return avx2.int8_rows(weights, stride, x, first, groups)
        return portable.int8_rows(weights, stride, x, first, groups)

else:  # LLVM refuses AVX2 instructions on other processors even where they are never reached

    @compiled
    def _int4_block(use_avx2, weights, scales, x, first, groups, out):
        portable.int4_block(weights, scales, x, first, groups, out)

    @compiled
    def _int8_rows(use_avx2, weights, stride, x, first, groups):
        return portable.int8_rows(weights, stride, x, first, groups)


@compiled
def _int4(use_avx2, matrix, x, group, first, last, out):
    groups = (matrix.columns + GROUP - 1) // GROUP
    row, buffer = first, stack_floats()
    while row < last:
        block, begin = row // BLOCK_ROWS, row % BLOCK_ROWS
        end = min(BLOCK_ROWS, begin + last - row)
        weights = matrix.weights + block * groups * GROUP * BLOCK_ROWS // 2
        scales = matrix.scales + 4 * block * groups * BLOCK_ROWS
        partial = end - begin < BLOCK_ROWS
        _int4_block(use_avx2, weights, scales, x, group, groups, buffer if partial else out + 4 * row)
        if partial:
            rows, result = floats(buffer, BLOCK_ROWS), floats(out + 4 * row, end - begin)
            for n in range(begin, end):
                result[n - begin] = rows[n]
        row += end - begin


@compiled
def _int8(use_avx2, matrix, x, group, first, last, out):
    groups = (matrix.columns + GROUP - 1) // GROUP
    stride = groups * GROUP
    scales, result = carray(pointer(matrix.scales), (matrix.rows,), np.uint16), floats(out, matrix.rows)
    row = first
    while row < last:
        four = row + 4 <= last
        weights = matrix.weights + row * stride
        sums = _int8_rows(use_avx2, weights, stride if four else 0, x, group, groups)
        result[row] = sums[0] * bfloat16_to_float(scales[row])
        if four:
            for n in range(1, 4):
                result[row + n] = sums[n] * bfloat16_to_float(scales[row + n])
        row += 4 if four else 1


@compiled
def multiply(use_avx2, matrix, x, group, first, last, out):
    """Rows `first` to `last` of the `MATRIX` times the vector that begins at a group of `x`; row n goes to `out[n]`."""
    if matrix.bits == 4:
        _int4(use_avx2, matrix, x, group, first, last, out)
    else:
        _int8(use_avx2, matrix, x, group, first, last, out)
    if matrix.bias:
        bias, result = floats(matrix.bias, matrix.rows), floats(out, matrix.rows)
        for row in range(first, last):
            result[row] += bias[row]

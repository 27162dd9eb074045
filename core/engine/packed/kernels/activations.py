"""Quantization of activations: 15-bit integers with one float32 scale for each group of 32.

A product with packed weights is then integer arithmetic inside a group.
"""

import functools

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from core.engine.packed.kernels.descriptors import GROUP
from core.engine.packed.kernels.emit import (
    AVX2,
    F32,
    FLOATS,
    I8,
    I16,
    INTS,
    SHORTS,
    Emit,
    compiled,
    filled,
    floats,
    number,
    pointer,
    stack_floats,
)

LARGEST = 16256
"""The largest quantized value, 127 · 128: high and low byte, value = 128 · high + low, then are both int8."""


@intrinsic
def _quantize_group(typing, x, values, planes):
    """One group from the address `x` (float32) to `values` (int16) and, for AVX2, to `planes` (int8 [2, GROUP]).

    Returns its scale and the sum of its values.
    """
    result = types.Tuple((types.float32, types.int32))

    def generate(context, builder, signature, args):
        x, values, planes = args
        emit = Emit(builder)
        inputs = [emit.load(x, number(32 * n), FLOATS) for n in range(4)]
        sizes = [emit.call("llvm.fabs.v8f32", FLOATS, each) for each in inputs]
        maximum = emit.reduce(functools.reduce(emit.larger, sizes), emit.larger)
        top, zero = ir.Constant(F32, float(LARGEST)), ir.Constant(F32, 0.0)
        inverse = builder.select(builder.fcmp_ordered(">", maximum, zero), builder.fdiv(top, maximum), zero)
        scaled = [builder.fmul(each, emit.splat(inverse, FLOATS)) for each in inputs]
        rounded = [builder.fptosi(emit.call("llvm.rint.v8f32", FLOATS, each), INTS) for each in scaled]
        for n, each in enumerate(rounded):
            emit.store(builder.trunc(each, ir.VectorType(I16, 8)), values, number(16 * n))
        for half in (0, 1) if AVX2 else ():
            value = emit.load(values, number(32 * half), SHORTS)
            high = builder.ashr(builder.add(value, filled(SHORTS, 64)), filled(SHORTS, 7))
            low = builder.sub(value, builder.shl(high, filled(SHORTS, 7)))
            for plane, each in enumerate((high, low)):
                emit.store(builder.trunc(each, ir.VectorType(I8, 16)), planes, number(GROUP * plane + 16 * half))
        scale, sum = builder.fdiv(maximum, top), emit.reduce(functools.reduce(builder.add, rounded), builder.add)
        return context.make_tuple(builder, result, [scale, sum])

    return result(*[types.intp] * 3), generate


@compiled
def quantize(x, count, into, first):
    """`count` float32 numbers from the address `x`, to the groups of the `ACTIVATIONS` `into` from `first` on.

    A last group of fewer than 32 numbers is filled up with zeros.
    """
    groups, padded = (count + GROUP - 1) // GROUP, stack_floats()
    scales, scaled_sums = floats(into.scales, first + groups), floats(into.scaled_sums, first + groups)
    offsets = carray(pointer(into.offsets), (first + groups,), np.int32)
    for n in range(groups):
        source, group = x + 4 * GROUP * n, first + n
        if n * GROUP + GROUP > count:
            partial, whole = floats(source, count - n * GROUP), floats(padded, GROUP)
            whole[:] = 0
            for k in range(len(partial)):
                whole[k] = partial[k]
            source = padded
        scale, sum = _quantize_group(source, into.values + 2 * GROUP * group, into.planes + 2 * GROUP * group)
        scales[group], scaled_sums[group], offsets[group] = scale, np.float32(sum) * scale, 8 * sum

"""Products of packed weights with one vector of quantized activations, by AVX2 instructions (x86-64).

How an int4 matrix lies in memory. 32 rows form a block; of a block, 4 neighbouring inputs (columns) take 64 bytes, two
registers of 32 bytes. A byte holds two weights of 4 bits, which belong to rows 8 apart:

    byte          0    1    2    3  |  4    5    6    7  | …  | 28   29   30   31
    input         k   k+1  k+2  k+3 |  k   k+1  k+2  k+3 | …  |  k   k+1  k+2  k+3
    register 0:   low 4 bits: row 0 |       row 1        | …  |       row 7
                 high 4 bits: row 8 |       row 9        | …  |       row 15
    register 1:              row 16 |       row 17       | …  |       row 23
                             row 24 |       row 25       | …  |       row 31

The activations x[k … k+3] are 4 bytes, repeated in all 8 lanes of 32 bits. They are int16, so there are two such
registers: the high bytes and the low bytes, x = 128 · high + low. `pmaddubsw` multiplies unsigned weights by signed
activations and adds neighbours:

    16 lanes of 16 bits:   row 0: w[k] x[k] + w[k+1] x[k+1] | row 0: w[k+2] x[k+2] + w[k+3] x[k+3] | row 1: … | …

A lane sums the 8 registers of a group: 16 products ≤ 16 · 15 · 127 = 30,480, which fits 16 bits. `pmaddwd` by constants
then adds the two lanes of a row, times 128 for the high bytes and times 1 for the low bytes, to 8 lanes of 32 bits: one
for each row, in their order.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from core.engine.packed.kernels.descriptors import BLOCK_ROWS, GROUP
from core.engine.packed.kernels.emit import (
    BYTES,
    F32,
    FLOATS,
    I8,
    I32,
    INTS,
    SHORTS,
    Emit,
    compiled,
    filled,
    number,
)

PREFETCH = 4096
"""Bytes between what is multiplied and what is prefetched: processors do not prefetch beyond a page by themselves."""
QUAD = 64
"""Bytes of 4 inputs of a block."""


@intrinsic
def _int4_block(typing, weights, scales, groups, planes, x_scales, scaled_sums, offsets, out):
    """32 rows of an int4 product, to float32 [32] at `out`. All arguments but `groups` are addresses."""

    def generate(context, builder, signature, args):
        weights, scales, groups, planes, x_scales, scaled_sums, offsets, out = args
        emit = Emit(builder)
        totals = [cgutils.alloca_once_value(builder, filled(FLOATS, 0.0)) for _ in range(4)]  # 8 rows each
        with cgutils.for_range(builder, groups) as loop:
            start = builder.mul(loop.index, number(QUAD * GROUP // 4))
            scale_start = builder.mul(loop.index, number(4 * BLOCK_ROWS))
            for line in (0, 64):
                emit.prefetch(scales, builder.add(scale_start, number(4 * BLOCK_ROWS * 8 + line)))
            sums = [[None] * 4, [None] * 4]  # of the high and of the low bytes, 16 lanes of 16 bits
            for quad in range(GROUP // 4):
                place = builder.add(start, number(QUAD * quad))
                emit.prefetch(weights, builder.add(place, number(PREFETCH)))
                rows = []
                for register in (0, 32):
                    both = emit.load(weights, builder.add(place, number(register)), BYTES)
                    high = builder.lshr(builder.bitcast(both, SHORTS), filled(SHORTS, 4))
                    rows += [builder.and_(each, filled(BYTES, 15)) for each in (both, builder.bitcast(high, BYTES))]
                for plane in (0, 1):
                    offset = builder.add(builder.mul(loop.index, number(2 * GROUP)), number(GROUP * plane + 4 * quad))
                    x = builder.bitcast(emit.splat(emit.load(planes, offset, I32), INTS), BYTES)
                    for n, each in enumerate(rows):
                        product = emit.call("llvm.x86.avx2.pmadd.ub.sw", SHORTS, each, x)
                        before = sums[plane][n]
                        sums[plane][n] = emit.in_order(builder.add(before, product) if before else product)
            place = builder.mul(loop.index, number(4))
            x_scale, scaled_sum = (emit.splat(emit.load(each, place, F32), FLOATS) for each in (x_scales, scaled_sums))
            offset = emit.splat(emit.load(offsets, place, I32), INTS)
            for n, total in enumerate(totals):
                dots = [
                    emit.call("llvm.x86.avx2.pmadd.wd", INTS, plane[n], filled(SHORTS, weight))
                    for plane, weight in zip(sums, (128, 1), strict=True)
                ]
                dot = builder.sitofp(builder.sub(builder.add(*dots), offset), FLOATS)
                both = emit.load(scales, builder.add(scale_start, number(32 * n)), INTS)
                scale = builder.bitcast(builder.shl(both, filled(INTS, 16)), FLOATS)
                zero_point = builder.bitcast(builder.and_(both, filled(INTS, 0xFFFF0000)), FLOATS)
                added = emit.call("llvm.fma.v8f32", FLOATS, zero_point, scaled_sum, builder.load(total))
                scaled = builder.fmul(scale, x_scale)
                builder.store(emit.call("llvm.fma.v8f32", FLOATS, scaled, dot, added), total)
        for n, total in enumerate(totals):
            emit.store(builder.load(total), out, number(32 * n))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 8), generate


@intrinsic
def _int8_rows(typing, weights, stride, groups, values, x_scales):
    """Four rows of an int8 product without their scales; `stride` bytes apart. The others are addresses."""
    four = types.UniTuple(types.float32, 4)

    def generate(context, builder, signature, args):
        weights, stride, groups, values, x_scales = args
        emit = Emit(builder)
        totals = [cgutils.alloca_once_value(builder, filled(FLOATS, 0.0)) for _ in range(4)]
        rows = [weights]
        for _ in range(3):
            rows.append(builder.add(rows[-1], stride))
        with cgutils.for_range(builder, groups) as loop:
            start = builder.mul(loop.index, number(GROUP))
            halves = (start, builder.add(start, number(16)))
            x = [emit.load(values, builder.mul(half, number(2)), SHORTS) for half in halves]
            x_scale = emit.splat(emit.load(x_scales, builder.mul(loop.index, number(4)), F32), FLOATS)
            for line in (0, 64):
                emit.prefetch(weights, builder.add(builder.mul(start, number(4)), number(PREFETCH + line)))
            for row, total in zip(rows, totals, strict=True):
                wide = [builder.sext(emit.load(row, half, ir.VectorType(I8, 16)), SHORTS) for half in halves]
                products = [emit.call("llvm.x86.avx2.pmadd.wd", INTS, *each) for each in zip(wide, x, strict=True)]
                dot = builder.sitofp(builder.add(*products), FLOATS)
                builder.store(emit.call("llvm.fma.v8f32", FLOATS, dot, x_scale, builder.load(total)), total)
        sums = [builder.load(total) for total in totals]
        return context.make_tuple(builder, four, [emit.reduce(each, builder.fadd) for each in sums])

    return four(*[types.intp] * 5), generate


@compiled
def int4_block(weights, scales, x, first, groups, out):
    """As `portable.int4_block`."""
    at = 4 * first
    planes = x.planes + 2 * GROUP * first
    _int4_block(weights, scales, groups, planes, x.scales + at, x.scaled_sums + at, x.offsets + at, out)


@compiled
def int8_rows(weights, stride, x, first, groups):
    """As `portable.int8_rows`."""
    return _int8_rows(weights, stride, groups, x.values + 2 * GROUP * first, x.scales + 4 * first)

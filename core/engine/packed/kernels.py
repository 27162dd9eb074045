"""Owns compiled code: products with packed weights, and a stack of blocks for one token, by one thread or several.

Weights are read where torch keeps them, in the order its own kernels want them. Activations become whole numbers of
15 bits with a scale for every 32 of them, so that a product is integer arithmetic; all else is float32. The threads
claim spans of rows from one counter: who comes late finds less to do, and nobody waits for one that has not come.
"""

import functools
import math
import platform
import sys
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

GROUP = 32
"""Neighbouring numbers that share a scale."""
AHEAD = 4096
"""Bytes between what is computed with and what is fetched from memory: no processor looks beyond a page by itself."""
BEGINNING = 1 << 17
"""Bytes of the next matrix that a thread which waits fetches: the memory need not wait too."""
BESIDE = 8
"""States that go through a piece of a matrix together: they and it stay in the cache nearest to a core but one."""
TOP = 16256
"""The largest level of an activation: 127 · 128, so that it is two bytes with a sign each, 128 · high + low."""
AVX2 = platform.machine().lower() in ("x86_64", "amd64") and bool(llvm.get_host_cpu_features().get("avx2"))
YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"

SILU, GELU, GELU_TANH, RELU = range(4)
PARTS = 5
QKV, HEADS, OUT, UP, DOWN = range(PARTS)
"""Stages of a block, each shared by the threads; what is between them is too little to share."""
ROUND, MULTIPLY, ENDS = range(3)
"""Those of a head."""
DONE, ALONE = 8, 16
"""Where a step counts the pieces that are done, and says that it wants no help; 0 has the stage and what is claimed."""
PATIENCE = 10_000
"""Looks at a counter, some tenths of a millisecond, before a thread takes it that another has lost its core."""


def _record(*names: str, **more: np.dtype) -> np.dtype:
    return np.dtype([*((name, np.dtype(np.int64)) for name in names), *more.items()])


MATRIX = _record("bits", "rows", "columns", "levels", "scales", "bias")
"""A packed linear map: sizes, and the addresses of its tensors; no bias is 0."""
BLOCK = _record(
    *("norm1", "shift1", "norm2", "shift2", "q_norm", "k_norm", "keys", "values"),
    **dict.fromkeys(("qkv", "out", "up", "down"), MATRIX),
)
"""Addresses of what a block computes with; what it does not have is 0."""
LEVELS = _record("numbers", "factors", "zeros", "centres", "planes")
"""Where quantised activations are: whole numbers, of each group scale, zero and centre, and the numbers' bytes."""
TASK = _record(
    *("width", "heads", "kv_heads", "head_dim", "inner", "gated", "activation", "centred"),
    *("levels", "scales", "positions", "norm", "shift"),
    *("room", "angles", "turned"),
    *("half", "near", "far"),
    *("stream", "normed", "made", "gave", "scores"),
    *("threads", "id", "position", "state", "count", "product"),
    eps=np.dtype(np.float64),
    head=MATRIX,
    x=LEVELS,
    y=LEVELS,
)
"""What all blocks share, the embedding and the final norm; room of the cache and of the table of angles; `Order`.

Then where the numbers of a step are while it is made, and what this step is for.
"""
compiled = njit(nogil=True, fastmath=True, error_model="numpy")


# LLVM ----------------------------------------------------------------------------------------------------------------

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
BYTES, WORDS, INTS, FLOATS = ir.VectorType(I8, 32), ir.VectorType(I16, 16), ir.VectorType(I32, 8), ir.VectorType(F32, 8)
INTERLEAVED = tuple(
    [16 * lane + first + row + 32 * odd for lane in (0, 1) for row in range(8) for odd in (0, 1)] for first in (0, 8)
)
"""Bytes of two vectors in turns: the first and the last of each half of them."""


@intrinsic
def _pointer(context, address):
    """An address as a pointer for `carray`."""
    return types.voidptr(types.intp), lambda _, builder, __, args: builder.inttoptr(args[0], I8.as_pointer())


@intrinsic
def _float_of(context, bits):
    """The float32 with these bits."""
    return types.float32(types.int32), lambda _, builder, __, args: builder.bitcast(args[0], F32)


@intrinsic
def _bits_of(context, number):
    """The bits of a float32."""
    return types.int32(types.float32), lambda _, builder, __, args: builder.bitcast(args[0], I32)


@intrinsic
def _wide(context, half):
    """The float32 of a bfloat16."""

    def generate(_, builder, signature, args):
        return builder.bitcast(builder.shl(builder.zext(args[0], I32), ir.Constant(I32, 16)), F32)

    return types.float32(types.uint16), generate


@intrinsic
def _read(context, address):
    """The whole number there, after all that was written before it."""

    def generate(_, builder, signature, args):
        return builder.load_atomic(builder.inttoptr(args[0], I64.as_pointer()), "acquire", 8)

    return types.int64(types.intp), generate


@intrinsic
def _write(context, address, value):
    """Put a whole number there, after all that was written before."""

    def generate(context, builder, signature, args):
        builder.store_atomic(args[1], builder.inttoptr(args[0], I64.as_pointer()), "release", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), generate


@intrinsic
def _add(context, address, value):
    """Add to the whole number there, whoever else does."""

    def generate(_, builder, signature, args):
        return builder.atomic_rmw("add", builder.inttoptr(args[0], I64.as_pointer()), args[1], "acq_rel")

    return types.int64(types.intp, types.int64), generate


@intrinsic
def _swap(context, address, old, new):
    """Put `new` there where `old` still is, and say whether it was."""

    def generate(_, builder, signature, args):
        place = builder.inttoptr(args[0], I64.as_pointer())
        return builder.extract_value(builder.cmpxchg(place, args[1], args[2], "acq_rel", "acquire"), 1)

    return types.boolean(types.intp, types.int64, types.int64), generate


@intrinsic
def _pause(context):
    """Tell the core that this thread only waits."""

    def generate(context, builder, signature, args):
        if AVX2:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _fetch(context, address):
    """Let the memory begin to bring what is there."""

    def generate(context, builder, signature, args):
        _Emit(builder).prefetch(args[0], ir.Constant(I64, 0))
        return context.get_dummy_value()

    return types.void(types.intp), generate


_yield = types.ExternalFunction(YIELD, types.int32())


class _Emit:
    """Writes LLVM's instructions for addresses and vectors."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def at(self, address: Any, offset: Any, kind: Any) -> Any:
        return self.builder.inttoptr(self.builder.add(address, offset), kind.as_pointer())

    def load(self, address: Any, offset: Any, kind: Any) -> Any:
        return self.builder.load(self.at(address, offset, kind), align=1)

    def splat(self, value: Any, kind: Any) -> Any:
        nothing = ir.Constant(kind, ir.Undefined)
        return self.shuffle(self.builder.insert_element(nothing, value, ir.Constant(I32, 0)), nothing, [0] * 8)

    def shuffle(self, a: Any, b: Any, order: list[int]) -> Any:
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(order)), order))

    def prefetch(self, address: Any, offset: Any) -> None:
        self.call(
            "llvm.prefetch.p0i8", ir.VoidType(), self.at(address, offset, I8), *[ir.Constant(I32, n) for n in (0, 3, 1)]
        )

    def kept(self, value: Any) -> Any:
        """The same, in its register and in its turn: LLVM would do all at once and run out of registers."""
        kind = ir.FunctionType(value.type, [value.type])
        return self.builder.asm(kind, "", "=x,0,~{memory}", [value], side_effect=True)

    def larger(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def folded(self, vector: Any, how: Callable[[Any, Any], Any]) -> Any:
        """The 8 numbers of a vector made one."""
        for width in (4, 2, 1):
            vector = how(*[self.shuffle(vector, vector, list(range(n, n + width))) for n in (0, width)])
        return self.builder.extract_element(vector, ir.Constant(I32, 0))

    def call(self, name: str, kind: Any, *args: Any) -> Any:
        signature = ir.FunctionType(kind, [each.type for each in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, signature, name), args)


def _all(kind: Any, value: Any) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _make_rows4(stride: int) -> Any:
    """32 rows of an int4 product: 16 in the low halves of bytes, `stride` apart for each input, 16 in the high.

    4 inputs × 16 bytes are interleaved to pairs of inputs, whose products with a byte of the activations are added by
    `pmaddubsw`; 16 bits hold the sum over a group. Every argument but `groups` is an address or a distance in bytes.
    """

    def generate(context, builder, signature, args):
        levels, scales, rows, groups, planes, factors, zeros, centres, out = args
        emit, k = _Emit(builder), lambda number: ir.Constant(I64, number)
        totals = [cgutils.alloca_once_value(builder, _all(FLOATS, 0.0)) for _ in range(4)]
        near = [lane * 8 + row + 16 * low for lane in (0, 1) for row in range(4) for low in (0, 1)]
        far, weights = [place + 4 for place in near], ir.Constant(WORDS, [128, 1] * 8)
        offsets = [0, 32, 4 * stride, 4 * stride + 32]

        def inputs(place):
            """16 rows of two inputs."""
            if stride == 16:
                return emit.load(levels, place, BYTES)
            two = [emit.load(levels, builder.add(place, k(n)), ir.VectorType(I8, 16)) for n in (0, stride)]
            return emit.shuffle(*two, list(range(32)))

        with cgutils.for_range(builder, groups) as loop:
            start = builder.mul(loop.index, k(stride * GROUP))
            sums: list[list[Any]] = [[None] * 4, [None] * 4]
            here = builder.mul(loop.index, rows)
            for line in (0, 64):
                emit.prefetch(scales, builder.add(here, k(8 * stride + line)))
            for quad in range(8):
                place = builder.add(start, k(4 * stride * quad))
                emit.prefetch(levels, builder.add(place, k(AHEAD)))
                both = [inputs(place), inputs(builder.add(place, k(2 * stride)))]
                pairs = [emit.shuffle(*both, order) for order in INTERLEAVED]
                high = [builder.lshr(builder.bitcast(each, WORDS), _all(WORDS, 4)) for each in pairs]
                four = [builder.and_(each, _all(BYTES, 15)) for each in pairs]
                four += [builder.and_(builder.bitcast(each, BYTES), _all(BYTES, 15)) for each in high]
                for plane in (0, 1):
                    offset = builder.add(builder.mul(loop.index, k(512)), k(256 * plane + 32 * quad))
                    x = emit.load(planes, offset, BYTES)
                    for n, each in enumerate(four):
                        product = emit.call("llvm.x86.avx2.pmadd.ub.sw", WORDS, each, x)
                        before = sums[plane][n]
                        sums[plane][n] = emit.kept(builder.add(before, product) if before else product)
            place = builder.mul(loop.index, k(4))
            factor, zero = (emit.splat(emit.load(each, place, F32), FLOATS) for each in (factors, zeros))
            centre = emit.splat(emit.load(centres, place, I32), INTS)
            for n, total in enumerate(totals):
                mixed = [emit.shuffle(sums[0][n], sums[1][n], order) for order in (near, far)]
                whole = [emit.call("llvm.x86.avx2.pmadd.wd", INTS, each, weights) for each in mixed]
                dot = builder.add(
                    *[
                        emit.shuffle(*whole, order)
                        for order in ([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15])
                    ]
                )
                dot = builder.sub(dot, centre)
                both = emit.load(scales, builder.add(here, k(offsets[n])), INTS)
                scale = builder.bitcast(builder.shl(both, _all(INTS, 16)), FLOATS)
                shift = builder.bitcast(builder.and_(both, _all(INTS, 0xFFFF0000)), FLOATS)
                added = emit.call("llvm.fma.v8f32", FLOATS, shift, zero, builder.load(total))
                scaled = builder.fmul(scale, factor)
                builder.store(emit.call("llvm.fma.v8f32", FLOATS, scaled, builder.sitofp(dot, FLOATS), added), total)
        for offset, total in zip(offsets, totals, strict=True):
            builder.store(builder.load(total), emit.at(out, k(offset), FLOATS), align=4)
        return context.get_dummy_value()

    @intrinsic
    def rows4(typing, levels, scales, rows, groups, planes, factors, zeros, centres, out):
        return types.void(*[types.intp] * 9), generate

    return rows4


_rows4_of_16, _rows4_of_32 = _make_rows4(16), _make_rows4(32)


@intrinsic
def _rows8_avx2(typing, levels, stride, groups, numbers, factors):
    """Four rows of an int8 product, `stride` bytes apart, but for their scales; the others are addresses."""
    four = types.UniTuple(types.float32, 4)

    def generate(context, builder, signature, args):
        levels, stride, groups, numbers, factors = args
        emit, k = _Emit(builder), lambda number: ir.Constant(I64, number)
        totals = [cgutils.alloca_once_value(builder, _all(FLOATS, 0.0)) for _ in range(4)]
        rows = [levels]
        for _ in range(3):
            rows.append(builder.add(rows[-1], stride))
        with cgutils.for_range(builder, groups) as loop:
            start = builder.mul(loop.index, k(GROUP))
            places = (start, builder.add(start, k(16)))
            x = [emit.load(numbers, builder.mul(place, k(2)), WORDS) for place in places]
            factor = emit.splat(emit.load(factors, builder.mul(loop.index, k(4)), F32), FLOATS)
            for line in (0, 64):
                emit.prefetch(levels, builder.add(builder.mul(start, k(4)), k(AHEAD + line)))
            for row, total in zip(rows, totals, strict=True):
                weights = [builder.sext(emit.load(row, place, ir.VectorType(I8, 16)), WORDS) for place in places]
                products = [emit.call("llvm.x86.avx2.pmadd.wd", INTS, *each) for each in zip(weights, x, strict=True)]
                dot = builder.sitofp(builder.add(*products), FLOATS)
                builder.store(emit.call("llvm.fma.v8f32", FLOATS, dot, factor, builder.load(total)), total)
        sums = [builder.load(total) for total in totals]
        return context.make_tuple(builder, four, [emit.folded(each, builder.fadd) for each in sums])

    return four(*[types.intp] * 5), generate


@intrinsic
def _levels(typing, x, numbers, planes):
    """32 numbers to whole ones of 15 bits: the scale and the sum of these.

    `planes` get their high and low bytes, each pair 8 times beside its neighbour, as the int4 kernel wants them.
    """
    both = types.Tuple((types.float32, types.int32))

    def generate(context, builder, signature, args):
        x, numbers, planes = args
        emit, k = _Emit(builder), lambda number: ir.Constant(I64, number)
        given = [emit.load(x, k(32 * n), FLOATS) for n in range(4)]
        sizes = [emit.call("llvm.fabs.v8f32", FLOATS, each) for each in given]
        most = emit.folded(functools.reduce(emit.larger, sizes), emit.larger)
        top, zero = ir.Constant(F32, float(TOP)), ir.Constant(F32, 0.0)
        inverse = builder.select(builder.fcmp_ordered(">", most, zero), builder.fdiv(top, most), zero)
        scaled = [builder.fmul(each, emit.splat(inverse, FLOATS)) for each in given]
        whole = [builder.fptosi(emit.call("llvm.rint.v8f32", FLOATS, each), INTS) for each in scaled]
        kind = ir.VectorType(I16, 8)
        for n, each in enumerate(whole):
            builder.store(builder.trunc(each, kind), emit.at(numbers, k(16 * n), kind), align=2)
        for part in (0, 1) if AVX2 else ():
            level = emit.load(numbers, k(32 * part), WORDS)
            high = builder.ashr(builder.add(level, _all(WORDS, 64)), _all(WORDS, 7))
            low = builder.sub(level, builder.shl(high, _all(WORDS, 7)))
            for plane, each in enumerate((high, low)):
                bytes_ = builder.bitcast(each, BYTES)
                for quad in range(4):
                    order = [8 * quad + 2 * (n + 2 * odd) for n in (0, 1) for _ in range(8) for odd in (0, 1)]
                    place = emit.at(planes, k(256 * plane + 128 * part + 32 * quad), BYTES)
                    builder.store(emit.shuffle(bytes_, bytes_, order), place, align=8)
        scale, sum = builder.fdiv(most, top), emit.folded(functools.reduce(builder.add, whole), builder.add)
        return context.make_tuple(builder, both, [scale, sum])

    return both(*[types.intp] * 3), generate


# Activations ---------------------------------------------------------------------------------------------------------


@compiled
def _round(x):
    """The nearest whole number, of those below 2^22, in a way that need not be done one by one."""
    return np.int32(_bits_of(x + np.float32(12582912)) - np.int32(0x4B400000))


@compiled
def _quantise(x, count, into, at):
    """Numbers at the address `x` as groups of `into` from `at` on: levels, scale, and what int4 needs of their sum."""
    groups = at + count // GROUP
    factors, zeros = _floats(into.factors, groups), _floats(into.zeros, groups)
    centres = carray(_pointer(into.centres), (groups,), np.int32)
    for group in range(at, groups):
        given, numbers = x + 4 * GROUP * (group - at), into.numbers + 2 * GROUP * group
        factor, sum = _levels(given, numbers, into.planes + 16 * GROUP * group)
        factors[group], zeros[group], centres[group] = factor, np.float32(sum) * factor, 8 * sum


@compiled
def _floats(address, count):
    return carray(_pointer(address), (count,), np.float32)


@compiled
def _normalise(x, weight, shift, eps, centred):
    """RMS norm of `x` in place, or layer norm where it is `centred`."""
    count = len(x)
    weights = _floats(weight, count)
    mean, square = np.float32(0), np.float32(0)
    if centred:
        for n in range(count):
            mean += x[n]
        mean /= np.float32(count)
    for n in range(count):
        square += (x[n] - mean) * (x[n] - mean)
    inverse = np.float32(1 / math.sqrt(square / count + eps))
    for n in range(count):
        x[n] = (x[n] - mean) * inverse * weights[n]
    if shift:
        shifts = _floats(shift, count)
        for n in range(count):
            x[n] += shifts[n]


@compiled
def _exp(x):
    """e^x in float32, of numbers that need not come one by one."""
    x = min(max(x, np.float32(-87)), np.float32(88))
    whole = _round(x * np.float32(1.44269504))
    turns = np.float32(whole)
    rest = x - turns * np.float32(0.693359375) + turns * np.float32(2.12194440e-4)
    series = np.float32(1.9875691500e-4) * rest + np.float32(1.3981999507e-3)
    series = series * rest + np.float32(8.3334519073e-3)
    series = series * rest + np.float32(4.1665795894e-2)
    series = series * rest + np.float32(1.6666665459e-1)
    series = series * rest + np.float32(5.0000001201e-1)
    return (series * rest * rest + rest + np.float32(1)) * _float_of(np.int32((whole + 127) << 23))


@compiled
def _sigmoid(x):
    return np.float32(1) / (np.float32(1) + _exp(-x))


@compiled
def _activate(x, activation):
    """The activation of all numbers of `x`, in place."""
    if activation == SILU:
        for n in range(len(x)):
            x[n] *= _sigmoid(x[n])
    elif activation == GELU_TANH:
        for n in range(len(x)):
            x[n] *= _sigmoid(np.float32(1.5957691216) * (x[n] + np.float32(0.044715) * x[n] * x[n] * x[n]))
    elif activation == GELU:
        for n in range(len(x)):
            x[n] *= np.float32(0.5) * (np.float32(1) + np.float32(math.erf(x[n] * np.float32(0.70710678))))
    else:
        for n in range(len(x)):
            x[n] = max(x[n], np.float32(0))


# Products ------------------------------------------------------------------------------------------------------------


@compiled
def portable_rows4(levels, scales, rows, model, into, at, groups, out):
    """The rows of a column of an int4 product, as any processor computes them; `rows` apart are the scales of groups.

    `at` is the first group of the activations. A column is up to 16 bytes for each input. The low halves are the levels
    of rows n · near, the high ones of rows n · near + far.
    """
    numbers = carray(_pointer(into.numbers), ((at + groups) * GROUP,), np.int16)
    factors, zeros = _floats(into.factors, at + groups), _floats(into.zeros, at + groups)
    centres = carray(_pointer(into.centres), (at + groups,), np.int32)
    width, near, far = min(model.half, 16), model.near, model.far
    column = carray(_pointer(levels), (groups * GROUP, model.half), np.uint8)
    halves = carray(_pointer(scales), (groups, rows, 2), np.uint16)
    made = _floats(out, width * near + far)
    sums = np.empty((2, 16), np.int32)
    for n in range(width):
        made[n * near] = made[n * near + far] = np.float32(0)
    for group in range(groups):
        sums[:] = 0
        for k in range(group * GROUP, (group + 1) * GROUP):
            x = np.int32(numbers[at * GROUP + k])
            for n in range(width):
                byte = np.int32(column[k, n])
                sums[0, n] += np.int32(x * np.int32(byte & 15))
                sums[1, n] += np.int32(x * np.int32(byte >> 4))
        for high in range(2):
            for n in range(width):
                row = n * near + high * far
                dot = np.float32(np.int32(sums[high, n] - centres[at + group]))
                made[row] += _wide(halves[group, row, 1]) * zeros[at + group]
                made[row] += _wide(halves[group, row, 0]) * factors[at + group] * dot


@compiled
def portable_row8(levels, into, at, groups):
    """A row of an int8 product but for its scale, as any processor computes it."""
    numbers = carray(_pointer(into.numbers), ((at + groups) * GROUP,), np.int16)
    factors = _floats(into.factors, at + groups)
    row = carray(_pointer(levels), (groups * GROUP,), np.int8)
    total = np.float32(0)
    for group in range(groups):
        sum = np.int32(0)
        for k in range(group * GROUP, (group + 1) * GROUP):
            sum = np.int32(sum + np.int32(np.int32(row[k]) * np.int32(numbers[at * GROUP + k])))
        total += np.float32(sum) * factors[at + group]
    return total


@compiled
def portable_rows8(levels, stride, into, at, groups):
    """Four rows of an int8 product, as any processor computes them."""
    return (
        portable_row8(levels, into, at, groups),
        portable_row8(levels + stride, into, at, groups),
        portable_row8(levels + 2 * stride, into, at, groups),
        portable_row8(levels + 3 * stride, into, at, groups),
    )


@compiled
def avx2_rows4(levels, scales, rows, model, into, at, groups, out):
    """`portable_rows4` by the instructions of a processor with AVX2, where `near` is 1."""
    x, sums = into.planes + 16 * GROUP * at, (into.factors + 4 * at, into.zeros + 4 * at, into.centres + 4 * at)
    if model.half == 16:
        _rows4_of_16(levels, scales, 4 * rows, groups, x, *sums, out)
    else:
        _rows4_of_32(levels, scales, 4 * rows, groups, x, *sums, out)


@compiled
def avx2_rows8(levels, stride, into, at, groups):
    """`portable_rows8` by the instructions of a processor with AVX2."""
    return _rows8_avx2(levels, stride, groups, into.numbers + 2 * GROUP * at, into.factors + 4 * at)


_rows4, _rows8 = (avx2_rows4, avx2_rows8) if AVX2 else (portable_rows4, portable_rows8)


@compiled
def _product(matrix, model, x, at, first, last, out):
    """Rows `first` to `last` of a packed map of what `x` has from the group `at` on, to their places from `out` on."""
    groups = matrix.columns // GROUP
    if matrix.bits == 4:
        for block in range(first, last, 2 * model.half):
            for part in range(0, model.half, 16):
                levels = matrix.levels + block // 2 * matrix.columns + part
                row = block + part
                scales = matrix.scales + 4 * row
                _rows4(levels, scales, matrix.rows, model, x, at, groups, out + 4 * row)
    else:
        scales, made = carray(_pointer(matrix.scales), (matrix.rows,), np.uint16), _floats(out, matrix.rows)
        row = first
        while row < last:
            four = row + 4 <= last
            sums = _rows8(matrix.levels + row * matrix.columns, matrix.columns if four else 0, x, at, groups)
            made[row] = sums[0] * _wide(scales[row])
            if four:
                for n in range(1, 4):
                    made[row + n] = sums[n] * _wide(scales[row + n])
            row += 4 if four else 1
    if matrix.bias:
        bias, made = _floats(matrix.bias, matrix.rows), _floats(out, matrix.rows)
        for row in range(first, last):
            made[row] += bias[row]


# A block -------------------------------------------------------------------------------------------------------------


@compiled
def _turn(x, position, model):
    """Rotary positions for a head, in place."""
    width = model.head_dim
    angles = carray(_pointer(model.angles), (2, model.turned, width), np.float32)
    cos, sin = angles[0, position], angles[1, position]
    for n in range(width // 2):
        a, b = x[n], x[n + width // 2]
        x[n] = a * cos[n] + b * sin[n]
        x[n + width // 2] = b * cos[n + width // 2] + a * sin[n + width // 2]


@compiled
def _remember(block, model):
    """Put the new keys and values where the cache wants them."""
    width, heads, position = model.head_dim, model.kv_heads, model.position
    for head in range(heads):
        key = _floats(model.made + 4 * (model.heads + head) * width, width)
        value = _floats(model.made + 4 * (model.heads + heads + head) * width, width)
        if block.k_norm:
            _normalise(key, block.k_norm, 0, model.eps, 0)
        if model.angles:
            _turn(key, position, model)
        for address, numbers in ((block.keys, key), (block.values, value)):
            past = carray(_pointer(address), (heads, model.room, width), np.float32)
            for n in range(width):
                past[head, position, n] = numbers[n]


@compiled
def _attend(head, block, model):
    """softmax(q kᵀ / √c) v for one head, over all that is remembered."""
    width, position, count = model.head_dim, model.position, model.position + 1
    shared = head // (model.heads // model.kv_heads)
    query = _floats(model.made + 4 * head * width, width)
    gave = _floats(model.gave + 4 * head * width, width)
    if block.q_norm:
        _normalise(query, block.q_norm, 0, model.eps, 0)
    if model.angles:
        _turn(query, position, model)
    keys = carray(_pointer(block.keys), (model.kv_heads, model.room, width), np.float32)[shared]
    values = carray(_pointer(block.values), (model.kv_heads, model.room, width), np.float32)[shared]
    score = _floats(model.scores + 4 * head * model.room, count)
    most, scale = np.float32(-3e38), np.float32(1 / math.sqrt(width))
    for t in range(count):
        dot = np.float32(0)
        for n in range(width):
            dot += query[n] * keys[t, n]
        score[t] = dot * scale
        most = max(most, score[t])
    total = np.float32(0)
    for t in range(count):
        score[t] = _exp(score[t] - most)
        total += score[t]
    gave[:] = 0
    for t in range(count):
        share = score[t] / total
        for n in range(width):
            gave[n] += share * values[t, n]


@compiled
def _span(model):
    """Rows that are computed together: whole groups, and whole blocks of int4."""
    return max(GROUP, 2 * model.half)


@compiled
def _pieces(stage, model, blocks):
    """Into how many pieces a stage can be cut."""
    if stage < 0:
        return 0
    beyond = stage - PARTS * len(blocks)
    if beyond >= 0:
        return model.count if beyond == ROUND else -(-model.head.rows // _span(model))
    block, part = blocks[stage // PARTS], stage % PARTS
    if part == HEADS:
        return model.heads
    if part == UP:
        return model.inner // _span(model)
    return (block.qkv.rows if part == QKV else block.out.rows) // _span(model)


@compiled
def _matrix(stage, model, blocks):
    """What is read in a stage that is a product."""
    if stage >= PARTS * len(blocks):
        return model.head
    block, part = blocks[stage // PARTS], stage % PARTS
    return block.qkv if part == QKV else block.out if part == OUT else block.up if part == UP else block.down


@compiled
def _multiply(stage, first, last, model):
    """Pieces `first` to `last` of a stage of a head, for all states."""
    matrix, span = model.head, _span(model)
    rows, columns = matrix.rows, matrix.columns
    groups = columns // GROUP
    if stage == ROUND:
        for n in range(first, last):
            _quantise(model.state + 4 * n * columns, columns, model.x, n * groups)
        return
    for near in range(0, model.count, BESIDE):
        for piece in range(first, last):
            start, end = piece * span, min((piece + 1) * span, rows)
            for n in range(near, min(near + BESIDE, model.count)):
                _product(matrix, model, model.x, n * groups, start, end, model.product + 4 * n * rows)


@compiled
def _do(stage, first, last, model, blocks):
    """Pieces `first` to `last` of a stage."""
    if stage >= PARTS * len(blocks):
        _multiply(stage - PARTS * len(blocks), first, last, model)
        return
    span, part = _span(model), stage % PARTS
    if part == HEADS:
        for n in range(first, last):
            _attend(n, blocks[stage // PARTS], model)
        return
    matrix = _matrix(stage, model, blocks)
    start, end = first * span, min(last * span, matrix.rows)
    for half in range(2 if part == UP and model.gated else 1):
        skipped = half * model.inner
        x = model.y if part in (OUT, DOWN) else model.x
        _product(matrix, model, x, 0, skipped + start, skipped + end, model.made)
    here, count = model.made + 4 * start, end - start
    made = _floats(here, count)
    if part == UP:
        _activate(made, model.activation)
        if model.gated:
            through = _floats(here + 4 * model.inner, count)
            for n in range(count):
                made[n] *= through[n]
        _quantise(here, count, model.y, start // GROUP)
    elif part != QKV:
        stream = _floats(model.stream + 4 * start, count)
        for n in range(count):
            stream[n] += made[n]


@compiled
def _embed(model):
    width, id = model.width, model.id
    stream = _floats(model.stream, width)
    levels = carray(_pointer(model.levels + id * width), (width,), np.int8)
    scale = _wide(carray(_pointer(model.scales + 2 * id), (1,), np.uint16)[0])
    for n in range(width):
        stream[n] = scale * np.float32(levels[n])
    if model.positions:
        places = _floats(model.positions + 4 * model.position * width, width)
        for n in range(width):
            stream[n] += places[n]


@compiled
def _prepare(stage, model, blocks):
    """What comes before a stage of a block, and after the last."""
    width, part, final = model.width, stage % PARTS, stage == PARTS * len(blocks)
    if stage > PARTS * len(blocks) or len(blocks) == 0:
        return
    if final or part in (QKV, UP):
        if stage == 0:
            _embed(model)
        stream, normed = _floats(model.stream, width), _floats(model.normed, width)
        for n in range(width):
            normed[n] = stream[n]
        norm, shift = model.norm, model.shift
        if not final:
            block = blocks[stage // PARTS]
            norm, shift = (block.norm1, block.shift1) if part == QKV else (block.norm2, block.shift2)
        _normalise(normed, norm, shift, model.eps, model.centred)
        if final:
            state = _floats(model.state, width)
            for n in range(width):
                state[n] = normed[n]
        else:
            _quantise(model.normed, width, model.x, 0)
    elif part == HEADS:
        _remember(blocks[stage // PARTS], model)
    elif part == OUT:
        _quantise(model.gave, model.heads * model.head_dim, model.y, 0)


@compiled
def _beginning(stage, model, blocks):
    """Where the levels begin that are read after a stage, and where those end that are fetched while it is waited."""
    matrix = _matrix(stage + 2 if stage % PARTS == QKV else stage + 1, model, blocks)
    return matrix.levels, matrix.levels + min(BEGINNING, matrix.rows * matrix.columns * matrix.bits // 8)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def step(leads, progress, tasks, blocks):
    """One token through all blocks and the final norm to its state, and it through the head; or only some states.

    The thread that leads opens one stage after the other and returns when all are done.
    Others take part, for as long as there is something to do for them.
    """
    place, model, turns = progress.ctypes.data, tasks[0], 0
    near, end, waited = 0, 0, -2
    last = PARTS * len(blocks) + ENDS
    while leads or _read(place + 8 * ALONE) == 0:
        word = _read(place)
        stage, first = word >> 32, word & 0xFFFFFFFF
        if stage == last:
            return
        pieces = _pieces(stage, model, blocks)
        if first < pieces:
            many = max(1, (pieces - first) // (2 * model.threads))
            if _swap(place, word, word + many):
                _do(stage, first, first + many, model, blocks)
                _add(place + 8 * DONE, many)
            turns = 0
        elif leads and _read(place + 8 * DONE) == pieces:
            _prepare(stage + 1, model, blocks)
            _write(place + 8 * DONE, 0)
            _write(place, (stage + 1) << 32)
            turns = 0
        else:
            turns += 1
            if stage != waited and stage + 1 < last and len(blocks):
                waited, (near, end) = stage, _beginning(stage, model, blocks)
            for line in range(near, min(near + 512, end), 64):
                _fetch(line)
            near += 512
            if turns < PATIENCE:
                _pause()
            elif leads:
                _write(place + 8 * ALONE, 1)
                _yield()
            else:
                return

"""LLVM instructions that Python has no words for: bit casts, atomic access, prefetch, and vectors of 32 bytes."""

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

AVX2 = platform.machine().lower() in ("x86_64", "amd64") and bool(llvm.get_host_cpu_features().get("avx2"))
"""Whether this processor has AVX2."""

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
BYTES, SHORTS, INTS, FLOATS = (ir.VectorType(*kind) for kind in ((I8, 32), (I16, 16), (I32, 8), (F32, 8)))
"""The types of one 32-byte register."""

compiled = njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
"""Decorator of every function that `scheduler.step` calls.

They become part of its machine code (LLVM copies them to each call, so calls are few). Without that, a process that has
just compiled would call other copies, optimized once less, than one that reads from disk, and round differently.
"""


@intrinsic
def pointer(context, address):
    """An address as a pointer for `carray`."""
    return types.voidptr(types.intp), lambda _, builder, __, args: builder.inttoptr(args[0], I8.as_pointer())


@intrinsic
def stack_floats(context):
    """The address of 32 float32 on the stack of the calling function; they hold anything."""

    def generate(_, builder, signature, args):
        return builder.ptrtoint(cgutils.alloca_once(builder, ir.ArrayType(F32, 32)), I64)

    return types.intp(), generate


@compiled
def floats(address, count):
    """The float32 array [count] at an address."""
    return carray(pointer(address), (count,), np.float32)


@intrinsic
def float_from_bits(context, bits):
    """The float32 with these bits."""
    return types.float32(types.int32), lambda _, builder, __, args: builder.bitcast(args[0], F32)


@intrinsic
def bits_of_float(context, number):
    """The bits of a float32."""
    return types.int32(types.float32), lambda _, builder, __, args: builder.bitcast(args[0], I32)


@intrinsic
def bfloat16_to_float(context, half):
    """The float32 equal to a bfloat16, which is given by its bits."""

    def generate(_, builder, signature, args):
        return builder.bitcast(builder.shl(builder.zext(args[0], I32), ir.Constant(I32, 16)), F32)

    return types.float32(types.uint16), generate


# Atomic access: each works on the int64 at an address ----------------------------------------------------------------


@intrinsic
def atomic_load(context, address):
    """Read it; what other threads wrote before they stored it is visible afterwards (acquire)."""

    def generate(_, builder, signature, args):
        return builder.load_atomic(builder.inttoptr(args[0], I64.as_pointer()), "acquire", 8)

    return types.int64(types.intp), generate


@intrinsic
def atomic_store(context, address, value):
    """Write it after everything that this thread wrote before (release)."""

    def generate(context, builder, signature, args):
        builder.store_atomic(args[1], builder.inttoptr(args[0], I64.as_pointer()), "release", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), generate


@intrinsic
def atomic_add(context, address, value):
    """Add to it; several threads may do so at the same time."""

    def generate(_, builder, signature, args):
        return builder.atomic_rmw("add", builder.inttoptr(args[0], I64.as_pointer()), args[1], "acq_rel")

    return types.int64(types.intp, types.int64), generate


@intrinsic
def compare_and_swap(context, address, old, new):
    """Store `new` if it still is `old`; returns whether it was."""

    def generate(_, builder, signature, args):
        word = builder.inttoptr(args[0], I64.as_pointer())
        return builder.extract_value(builder.cmpxchg(word, args[1], args[2], "acq_rel", "acquire"), 1)

    return types.boolean(types.intp, types.int64, types.int64), generate


# Waiting -------------------------------------------------------------------------------------------------------------


@intrinsic
def pause(context):
    """Tell the processor core that this thread is in a spin loop."""

    def generate(context, builder, signature, args):
        if AVX2:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def prefetch(context, address):
    """Load the cache line at an address into the cache, without waiting for it."""

    def generate(context, builder, signature, args):
        Emit(builder).prefetch(args[0], ir.Constant(I64, 0))
        return context.get_dummy_value()

    return types.void(types.intp), generate


yield_core = types.ExternalFunction("SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32())
"""Let the operating system run another thread on this core."""


# Vectors -------------------------------------------------------------------------------------------------------------


class Emit:
    """Writes LLVM instructions for addresses and vectors. Addresses and offsets are LLVM values in bytes."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def at(self, address: Any, offset: Any, kind: Any) -> Any:
        return self.builder.inttoptr(self.builder.add(address, offset), kind.as_pointer())

    def load(self, address: Any, offset: Any, kind: Any) -> Any:
        return self.builder.load(self.at(address, offset, kind), align=1)

    def store(self, value: Any, address: Any, offset: Any) -> None:
        self.builder.store(value, self.at(address, offset, value.type), align=1)

    def splat(self, value: Any, kind: Any) -> Any:
        """A vector of 8 equal numbers."""
        undefined = ir.Constant(kind, ir.Undefined)
        return self.shuffle(self.builder.insert_element(undefined, value, ir.Constant(I32, 0)), undefined, [0] * 8)

    def shuffle(self, a: Any, b: Any, order: list[int]) -> Any:
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(order)), order))

    def prefetch(self, address: Any, offset: Any) -> None:
        """For reading, into all levels of the cache."""
        self.call(
            "llvm.prefetch.p0i8", ir.VoidType(), self.at(address, offset, I8), *[ir.Constant(I32, n) for n in (0, 3, 1)]
        )

    def in_order(self, value: Any) -> Any:
        """The same value, computed here: LLVM would compute all such values at once and run out of registers."""
        kind = ir.FunctionType(value.type, [value.type])
        return self.builder.asm(kind, "", "=x,0,~{memory}", [value], side_effect=True)

    def larger(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def reduce(self, vector: Any, operation: Callable[[Any, Any], Any]) -> Any:
        """The 8 numbers of a vector combined to one."""
        for width in (4, 2, 1):
            vector = operation(*[self.shuffle(vector, vector, list(range(n, n + width))) for n in (0, width)])
        return self.builder.extract_element(vector, ir.Constant(I32, 0))

    def call(self, name: str, kind: Any, *args: Any) -> Any:
        signature = ir.FunctionType(kind, [each.type for each in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, signature, name), args)


def filled(kind: Any, value: Any) -> Any:
    """A constant vector of equal numbers."""
    return ir.Constant(kind, [value] * kind.count)


def number(value: int) -> Any:
    """A constant int64, for offsets."""
    return ir.Constant(I64, value)

"""LLVM instructions that Python has no words for: bit casts, atomic access, prefetch, calls of machine code."""

import platform
import sys

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

X86 = platform.machine().lower() in ("x86_64", "amd64")
I8, I32, I64, F32 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()

compiled = njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
"""Decorator of every function that `scheduler.step` calls.

They become part of its machine code: LLVM copies them to each call, so calls are few.
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
        if X86:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def prefetch(context, address):
    """Load the cache line at an address into the level-2 cache, without waiting for it."""

    def generate(context, builder, signature, args):
        place = builder.inttoptr(args[0], I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, I32, I32, I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [place, *(ir.Constant(I32, n) for n in (0, 2, 1))])
        return context.get_dummy_value()

    return types.void(types.intp), generate


_sleep = types.ExternalFunction("Sleep" if sys.platform == "win32" else "usleep", types.int32(types.uint32))
_SHORTEST = 1 if sys.platform == "win32" else 50
"""Milliseconds for Windows, else microseconds; the operating system adds about as many."""


@compiled
def rest():
    """Leave the core to other threads for about a tenth of a millisecond."""
    _sleep(_SHORTEST)


# Calls ---------------------------------------------------------------------------------------------------------------


@intrinsic
def call(context, address, arguments):
    """Call machine code `function(int64, …) → void` at an address."""

    def generate(context, builder, signature, args):
        given = cgutils.unpack_tuple(builder, args[1])
        kind = ir.FunctionType(ir.VoidType(), [I64] * len(given))
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(types.intp, types.UniTuple(types.intp, len(arguments))), generate

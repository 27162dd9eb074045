"""Compiles functions of this package for this processor and keeps the machine code on disk.

Each function has its own file: a checksum, then an object file. A file that is damaged or made from other sources is
compiled again; where nothing can be written, each process compiles for itself.
"""

import hashlib
import logging
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from core.engine.packed.kernels.native.code import AVX2, PORTABLE, VNNI

_log = logging.getLogger(__name__)
X86 = platform.machine().lower() in ("x86_64", "amd64")
FEATURES = llvm.get_host_cpu_features()


def instruction_sets() -> tuple[str, ...]:
    """Those that this processor has, the fastest first."""
    vnni = X86 and all(FEATURES.get(f"avx512{name}") for name in ("f", "bw", "dq", "vl", "vnni"))
    avx2 = X86 and FEATURES.get("avx2") and FEATURES.get("fma")
    return (*((VNNI,) if vnni else ()), *((AVX2,) if avx2 else ()), PORTABLE)


BEST = instruction_sets()[0]


@cache
def _machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=FEATURES.flatten(), opt=3, jit=True, reloc="default", codemodel="jitdefault"
    )


@cache
def _engine() -> Any:
    """Holds all machine code until the process ends."""
    empty = llvm.parse_assembly("")
    return llvm.create_mcjit_compiler(empty, _machine())


def compile_object(text: str, name: str) -> bytes:
    """Machine code, as an object file, of LLVM's text of one function."""
    machine = _machine()
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    module.verify()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    return machine.emit_object(module)


def load(data: bytes, name: str) -> int:
    """The address of a function of an object file."""
    engine = _engine()
    engine.add_object_file(llvm.ObjectFileRef.from_data(data))
    engine.finalize_object()
    return engine.get_function_address(name)

"""Compiles the functions of this package for this processor and keeps the machine code on disk.

Each function has its own file: a checksum, then an object file. A file that is damaged is compiled again; one made from
other sources or for another processor has another name. Where nothing can be written, each process compiles.
"""

import hashlib
import logging
import platform
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding as llvm

from core.atomic import replacing
from core.engine.packed.kernels import disk_cache
from core.engine.packed.kernels.cache_problems import report
from core.engine.packed.kernels.native import floats, rows, tiles
from core.engine.packed.kernels.native.code import AVX2, PORTABLE, VNNI
from core.engine.packed.kernels.native.formats import FORMATS
from core.errors import UserError

_log = logging.getLogger(__name__)
_lock = RLock()
_FEATURES = llvm.get_host_cpu_features()


class Kernels(NamedTuple):
    """Addresses of the machine code for one format."""

    group: int
    """How many neighbours share a scale; 0 for plain numbers."""
    minimums: int
    """How many minimums 32 neighbours have in tiles."""
    multiply: int
    """`rows.rows` or `floats.rows`."""
    unpack: int
    """`rows.plain` or `floats.plain`."""
    expand: int
    """`tiles.expand`; 0 for plain numbers."""
    tile: int
    """`tiles.tile`; 0 for plain numbers."""


def instruction_sets() -> tuple[str, ...]:
    """Those that this processor has, the fastest first."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    if x86 and not _FEATURES.get("f16c"):
        raise RuntimeError("this processor has no conversion from float16 (F16C)")
    vnni = x86 and all(_FEATURES.get(f"avx512{name}") for name in ("f", "bw", "dq", "vl", "vnni"))
    avx2 = x86 and _FEATURES.get("avx2") and _FEATURES.get("fma")
    return (*((VNNI,) if vnni else ()), *((AVX2,) if avx2 else ()), PORTABLE)


def best() -> str:
    """The fastest instruction set of this processor."""
    return instruction_sets()[0]


@cache
def kernels(format: str, instructions: str) -> Kernels:
    """The machine code for a number format of GGUF files, one of `FORMATS` or `floats.SIZES`."""
    if format in floats.SIZES:
        multiply = _function(f"multiply_{format}", partial(floats.rows, format), instructions)
        return Kernels(0, 0, multiply, _function(f"unpack_{format}", partial(floats.plain, format), instructions), 0, 0)
    known = FORMATS[format]
    multiply = _function(f"multiply_{format}", partial(rows.rows, known), instructions)
    unpack = _function(f"unpack_{format}", partial(rows.plain, known), instructions)
    expand = _function(f"expand_{format}", partial(tiles.expand, known), instructions)
    tile = _function(f"tile_{known.minimums}", partial(tiles.tile, known.minimums), instructions)
    return Kernels(known.group, known.minimums, multiply, unpack, expand, tile)


@cache
def transpose(instructions: str) -> int:
    """The address of `tiles.transpose`."""
    return _function("transpose", tiles.transpose, instructions)


@cache
def quantize(instructions: str) -> int:
    """The address of `tiles.quantize`."""
    return _function("quantize", tiles.quantize, instructions)


_addresses: dict[str, int] = {}


def _function(name: str, make: Callable[[str], str], instructions: str) -> int:
    """The address of a function, from memory, from the disk, or compiled now."""
    label = f"{name}_{instructions}".replace(" ", "_").replace("-", "_")
    with _lock:
        if label not in _addresses:
            _addresses[label] = _load(_object(label, lambda: make(instructions)), label)
        return _addresses[label]


def _object(label: str, make: Callable[[], str]) -> bytes:
    folder = disk_cache.folder()
    path = folder / f"{label}.{_stamp()}.o" if folder else None
    if path and (found := _read(path)) is not None:
        return found
    data = _compiled(make(), label)
    if path:
        for old in path.parent.glob(f"{label}.*.o"):
            with suppress(OSError):
                old.unlink()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                file.write(hashlib.sha256(data).digest() + data)
        except (UserError, OSError) as error:
            report(f"compiled code cannot be kept in {path.parent}: {error}")
    return data


def _read(path: Path) -> bytes | None:
    """The object file at a path; None where there is none or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    data = content[32:]
    if hashlib.sha256(data).digest() == content[:32]:
        return data
    report(f"the compiled code in {path} is damaged: compiled again")
    return None


@cache
def _stamp() -> str:
    """Names the sources, the compiler and the processor."""
    parts = (disk_cache.digest(), llvmlite.__version__, llvm.get_host_cpu_name(), _FEATURES.flatten())
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


@cache
def _machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = _FEATURES.flatten()
    if best() == VNNI:
        features += ",+fast-dpwssd"  # else LLVM splits half of the additions off the products
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, jit=True
    )


@cache
def _engine() -> Any:
    """Holds all machine code until the process ends."""
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())


def _compiled(text: str, label: str) -> bytes:
    """Machine code, as an object file, of the one function of LLVM's text, which becomes `label`."""
    machine = _machine()
    module = llvm.parse_assembly(text)
    (function,) = (each for each in module.functions if not each.is_declaration)
    function.name = label
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_unrolling = False  # loops hold what fits into the registers
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    code: bytes = machine.emit_object(module)
    return code


def _load(data: bytes, label: str) -> int:
    engine = _engine()
    engine.add_object_file(llvm.ObjectFileRef.from_data(data))
    engine.finalize_object()
    address: int = engine.get_function_address(label)
    return address

"""Compiles functions from LLVM's text for this processor, keeps their machine code on disk, and loads it.

Each function has its own file: a checksum, then an object file. A file that is damaged is compiled again; one made from
other sources, by another compiler or for another processor has another name. Where nothing can be written, each process
compiles. numba is not needed for what is on disk.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from os import W_OK, access
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import platformdirs

from core.atomic import replacing
from core.engine.packed.kernels.cache_problems import report
from core.errors import UserError

FEATURES = llvm.get_host_cpu_features()
"""What instructions this processor has, by LLVM's names."""

KEPT = 30 * 24 * 3600
"""Seconds for which the code of other versions is kept."""

_lock = RLock()
_addresses: dict[str, int] = {}


class Source(NamedTuple):
    """A function in LLVM's text."""

    text: str
    function: str | None = None
    """Its name there; None where it is the only one. Others are kept only as far as it calls them."""


def address(label: str, make: Callable[[], Source]) -> int:
    """The address of a function, from memory, from the disk, or compiled now from what `make` gives.

    `label` names it in this process and on disk: letters, digits and underscores.
    """
    with _lock:
        if label not in _addresses:
            engine = _engine()
            engine.add_object_file(llvm.ObjectFileRef.from_data(machine_code(label, make)))
            engine.finalize_object()
            _addresses[label] = engine.get_function_address(label)
        return _addresses[label]


def machine_code(label: str, make: Callable[[], Source]) -> bytes:
    """The object file of a function, from the disk, or compiled now and kept there."""
    path = folder() / f"{label}.{_stamp()}.o"
    if (found := _read(path)) is not None:
        return found
    code = _compiled(make(), label)
    for old in path.parent.glob(f"{label}.*.o"):  # of other versions, which may be in use elsewhere
        with suppress(OSError):
            if old.stat().st_mtime < time.time() - KEPT:
                old.unlink()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(hashlib.sha256(code).digest() + code)
    except (UserError, OSError) as error:
        report(f"compiled code cannot be kept in {path.parent}: {error}")
    return code


def kept(label: str) -> bool:
    """Whether a function is on disk, so that it need not be compiled."""
    return (folder() / f"{label}.{_stamp()}.o").exists()


@cache
def folder() -> Path:
    """Where compiled code is kept: beside the sources, as Python does, or in the user's cache folder."""
    beside = Path(__file__).with_name("__pycache__")
    return beside if access(beside, W_OK) else platformdirs.user_cache_path("tokenwalk") / "compiled"


def _read(path: Path) -> bytes | None:
    """The object file at a path; None where there is none or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    code = content[32:]
    if hashlib.sha256(code).digest() == content[:32]:
        return code
    report(f"the compiled code in {path} is damaged: compiled again")
    return None


@cache
def _stamp() -> str:
    """Names the sources, the compilers and the processor."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    sources = hashlib.sha256(b"".join(each.name.encode() + each.read_bytes() for each in files)).hexdigest()
    parts = (sources, version("numba"), version("llvmlite"), llvm.get_host_cpu_name(), FEATURES.flatten())
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


@cache
def _machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = FEATURES.flatten()
    if FEATURES.get("avx512vnni"):
        features += ",+fast-dpwssd"  # else LLVM splits half of the additions off the products
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, jit=True
    )


@cache
def _engine() -> Any:
    """Holds all machine code until the process ends."""
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())


def _compiled(source: Source, label: str) -> bytes:
    """An object file with the function alone, which becomes `label`."""
    machine = _machine()
    module = llvm.parse_assembly(source.text)
    for function in module.functions:
        if source.function in (None, function.name) and not function.is_declaration:
            function.name = label
        elif not function.is_declaration:
            function.linkage = "internal"  # so that what is not called is left out
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_unrolling = False  # loops hold what fits into the registers
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    code: bytes = machine.emit_object(module)
    return code

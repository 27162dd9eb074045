"""The instruction sets of this processor, and the machine code of this package's functions for each of them."""

import platform
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

from core.engine.packed.kernels import objects
from core.engine.packed.kernels.native import floats, rows, tiles
from core.engine.packed.kernels.native.code import AVX2, PORTABLE, VNNI
from core.engine.packed.kernels.native.formats import FORMATS


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
    """`tiles.expand` or `floats.plain`."""
    tile: int
    """`tiles.tile` or `floats.tile`."""


def instruction_sets() -> tuple[str, ...]:
    """Those that this processor has, the fastest first."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    if x86 and not objects.FEATURES.get("f16c"):
        raise RuntimeError("this processor has no conversion from float16 (F16C)")
    vnni = x86 and all(objects.FEATURES.get(f"avx512{name}") for name in ("f", "bw", "dq", "vl", "vnni"))
    avx2 = x86 and objects.FEATURES.get("avx2") and objects.FEATURES.get("fma")
    return (*((VNNI,) if vnni else ()), *((AVX2,) if avx2 else ()), PORTABLE)


def best() -> str:
    """The fastest instruction set of this processor."""
    return instruction_sets()[0]


@cache
def kernels(format: str, instructions: str, *, apart: bool = False) -> Kernels:
    """The machine code for a number format of GGUF files, one of `FORMATS` or `floats.SIZES`.

    `apart`: for a matrix whose rows lie in another order than ours, which matters only for speed.
    """
    label = f"multiply_{format}_apart" if apart else f"multiply_{format}"
    if format in floats.SIZES:
        multiply = _function(label, partial(floats.rows, format, apart=apart), instructions)
        unpack = _function(f"unpack_{format}", partial(floats.plain, format), instructions)
        return Kernels(0, 0, multiply, unpack, unpack, _function("tile_plain", floats.tile, instructions))
    known = FORMATS[format]
    multiply = _function(label, partial(rows.rows, known, apart=apart), instructions)
    unpack = _function(f"unpack_{format}", partial(rows.plain, known), instructions)
    expand = _function(f"expand_{format}", partial(tiles.expand, known), instructions)
    tile = _function(f"tile_{known.minimums}", partial(tiles.tile, known.minimums), instructions)
    return Kernels(known.group, known.minimums, multiply, unpack, expand, tile)


@cache
def transpose(instructions: str) -> int:
    """The address of `tiles.transpose`."""
    return _function("transpose", tiles.transpose, instructions)


@cache
def quantize(instructions: str, *, tiled: bool = False) -> int:
    """The address of `tiles.quantize`."""
    return _function("quantize_tiled" if tiled else "quantize", partial(tiles.quantize, tiled=tiled), instructions)


def _function(name: str, make: Callable[[str], str], instructions: str) -> int:
    """The address of a function for an instruction set."""
    label = f"{name}_{instructions}".replace(" ", "_").replace("-", "_")
    return objects.address(label, lambda: objects.Source(make(instructions)))

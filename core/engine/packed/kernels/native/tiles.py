"""Tiles of 16 rows times 8 vectors: what a prompt needs. A tile is unpacked once and multiplied by all vectors.

The lanes of a register are rows: 16 rows of 4 neighbouring inputs take 64 bytes, in the order [inputs / 4, 16, 4].
Vectors lie in blocks of 8 in the order [inputs / 4, 8, 4], so 4 bytes of a vector are repeated in all lanes.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from core.engine.packed.kernels.native.code import F32, I8, I32, I64, VNNI, Code, vector

TILE = 16
"""Rows of a tile."""
VECTORS = 8
"""Vectors of a block."""


def transpose(instructions: str) -> str:
    """[16 rows, count] words of 4 bytes, rows `stride` bytes apart → [count, 16]; `count` is rounded up to 16."""
    code = Code("transpose", instructions, ("source", "stride", "count", "into"))
    given = code.arguments
    sixteen = vector(I32, 16)
    with code.loop(code.builder.lshr(code.add(given["count"], 15), code.integer(4))) as n:
        start = code.add(given["source"], code.times(n, 64))
        lines = [code.load(sixteen, code.add(start, code.times(given["stride"], row))) for row in range(TILE)]
        for distance in (8, 4, 2, 1):  # exchange quarters of ever smaller squares
            keep = [lane + 16 * 0 if not lane & distance else lane - distance + 16 for lane in range(16)]
            other = [lane + distance if not lane & distance else lane + 16 for lane in range(16)]
            for row in range(TILE):
                if not row & distance:
                    a, b = lines[row], lines[row + distance]
                    lines[row], lines[row + distance] = code.shuffle(a, keep, b), code.shuffle(a, other, b)
        for row, line in enumerate(lines):
            code.store(line, code.add(given["into"], code.times(n, 1024)), 64 * row)
    return code.text()


def tile(group: int, instructions: str, *, wide: bool) -> str:
    """Two tiles times a block of 8 vectors → float32, `valid` numbers (up to 32) at each of `out`, `out` + `apart`, ….

    `weights`, `weight_scales`, `minimums` are what `transpose` made of unpacked rows, the second tile `next` bytes
    after the first; `count` is how many scales a row has; `high`, `low`, `scales`, `sums` describe the vectors as in
    `ACTIVATIONS`, 8 numbers for each group.
    """
    weights, vectors = ("weights", "weight_scales", "minimums", "next", "count"), ("high", "low", "scales", "sums")
    code = Code("tile", instructions, (*weights, *vectors, "out", "apart", "valid"))
    together = [(0, 1)] if instructions == VNNI else [(0,), (1,)]  # others have too few registers
    for tiles in together:
        totals = _tile_totals(code, group, tiles, wide=wide)
        lanes = code.constant(vector(I64, TILE), range(TILE))
        for (each, v), place in totals.items():
            left = code.add(code.arguments["valid"], -TILE * each)
            valid = code.builder.icmp_signed("<", lanes, code.splat(left, TILE))
            to = code.add(code.add(code.arguments["out"], 4 * TILE * each), code.times(code.arguments["apart"], v))
            where = code.builder.inttoptr(to, vector(F32, TILE).as_pointer())
            sums = code.builder.load(place)
            code.call("llvm.masked.store.v16f32.p0", ir.VoidType(), sums, where, code.integer(4, I32), valid)
    return code.text()


def _tile_totals(code: Code, group: int, tiles: Sequence[int], *, wide: bool) -> dict[tuple[int, int], Any]:
    """The places of the sums of each tile and vector. What is loaded of a vector is used for all tiles."""
    given, build, floats, ints = code.arguments, code.builder, vector(F32, TILE), vector(I32, TILE)
    pairs = [(each, v) for v in range(VECTORS) for each in tiles]
    totals = {pair: code.variable(code.filled(floats, 0.0)) for pair in pairs}

    def at(name: str, index: Any, size: int, each: int = 0) -> Any:
        place = code.add(given[name], code.times(index, size))
        return code.add(place, given["next"]) if each else place

    with code.loop(given["count"]) as n:
        dots = {pair: code.filled(ints, 0) for pair in pairs}
        for plane in ("high", "low"):
            x = at(plane, n, VECTORS * group)
            for quad in range(group // 4):
                weights = {t: code.load(vector(I8, 64), at("weights", n, 16 * group, t), 64 * quad) for t in tiles}
                for v in range(VECTORS):
                    word = code.splat(code.load(I32, x, 4 * VECTORS * quad + 4 * v), TILE)
                    repeated = build.bitcast(word, vector(I8, 64))
                    for each in tiles:
                        dots[each, v] = code.dot(dots[each, v], weights[each], repeated, wide=wide)
            if plane == "high":
                dots = {pair: build.shl(each, code.filled(ints, 7)) for pair, each in dots.items()}
        x_group = n if group == 32 else build.lshr(n, code.integer(1))
        scales = {t: code.load(floats, at("weight_scales", n, 64, t)) for t in tiles}
        minimums = {t: code.load(floats, at("minimums", n, 64, t)) for t in tiles}
        for each, v in pairs:
            x_scale = code.splat(code.load(F32, at("scales", x_group, 4 * VECTORS), 4 * v), TILE)
            x_sum = code.splat(code.load(F32, at("sums", n, 4 * VECTORS), 4 * v), TILE)
            total = code.fma(minimums[each], x_sum, build.load(totals[each, v]))
            total = code.fma(build.fmul(scales[each], x_scale), build.sitofp(dots[each, v], floats), total)
            build.store(total, totals[each, v])
    return totals


def quantize(instructions: str) -> str:
    """`groups` groups of 32 float32 at `x` → the planes, scales and sums of one vector.

    `near` is the distance in bytes from 4 numbers of a plane to the next 4: 4 for a vector alone, 32 in a block of 8.
    The other distances: `near` from a scale to the next, too.
    """
    names = ("x", "groups", "near", "high", "low", "scales", "sums", "sums16")
    code = Code("quantize", instructions, names)
    given, build = code.arguments, code.builder
    sixteen = vector(F32, 16)
    with code.loop(given["groups"]) as n:
        halves = [code.load(sixteen, code.add(given["x"], code.times(n, 128)), 64 * half) for half in (0, 1)]
        sizes = [code.call("llvm.fabs.v16f32", sixteen, each) for each in halves]
        largest = build.select(build.fcmp_ordered(">", *sizes), *sizes)
        count = 16
        while count > 1:
            count //= 2
            pair = [code.shuffle(largest, range(k, k + count)) for k in (0, count)]
            largest = build.select(build.fcmp_ordered(">", *pair), *pair)
        most = build.extract_element(largest, code.integer(0, I32))
        top, zero = ir.Constant(F32, float(LARGEST)), ir.Constant(F32, 0.0)
        inverse = build.select(build.fcmp_ordered(">", most, zero), build.fdiv(top, most), zero)
        nothing = build.fadd(*[build.fmul(each, code.filled(sixteen, 0.0)) for each in halves])
        scale = build.fadd(build.fdiv(most, top), code.sum(nothing))  # NaN where a number is not finite
        place = code.add(given["scales"], build.mul(n, given["near"]))
        code.store(scale, place)
        sums = []
        for half, x in enumerate(halves):
            scaled = build.fmul(x, code.splat(inverse, 16))
            ints = build.fptosi(code.call("llvm.rint.v16f32", sixteen, scaled), vector(I32, 16))
            rounded = build.sitofp(ints, sixteen)
            sums.append(build.fmul(code.sum(rounded), scale))
            upper = build.ashr(build.add(ints, code.filled(ints.type, 64)), code.filled(ints.type, 7))
            lower = build.sub(ints, build.shl(upper, code.filled(ints.type, 7)))
            for plane, each in (("high", upper), ("low", lower)):
                words = build.bitcast(build.trunc(each, vector(I8, 16)), vector(I32, 4))
                for k in range(4):
                    word = build.extract_element(words, code.integer(k, I32))
                    step = build.mul(code.add(code.times(n, 8), 4 * half + k), given["near"])
                    code.store(word, code.add(given[plane], step))
            step = build.mul(code.add(code.times(n, 2), half), given["near"])
            code.store(sums[half], code.add(given["sums16"], step))
        code.store(build.fadd(*sums), code.add(given["sums"], build.mul(n, given["near"])))
    return code.text()


LARGEST = 16256
"""The largest quantized number, 127 · 128: high and low byte are then both int8."""

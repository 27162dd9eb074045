"""Tiles of 16 rows times 8 vectors: what a prompt needs. A tile is unpacked once and multiplied by all vectors.

The lanes of a register are rows: 16 rows of 2 inputs, as int16, take 64 bytes, in the order [inputs / 2, 16, 2].
Vectors lie in blocks of 8 in the order [inputs / 2, 8, 2], so 2 inputs of a vector are repeated in all lanes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from llvmlite import ir

from core.engine.packed.kernels.native.code import F32, I8, I16, I32, I64, VNNI, Code, vector
from core.engine.packed.kernels.native.formats import GROUP, Format
from core.engine.packed.kernels.native.rows import PLANES

TILE = 16
"""Rows of a tile."""
VECTORS = 8
"""Vectors of a block."""
EIGHT = 8
"""Groups that are multiplied by one vector after the other."""
ARGUMENTS = (
    *("weights", "weight_scales", "minimums", "next", "groups"),
    *(*PLANES, "scales", "sums"),
    *("out", "apart", "valid", "more"),
)
"""Of `tile`."""


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


def expand(format: Format, instructions: str) -> str:
    """One row as signed int16, without zero points: even numbers of 32, then odd ones; scales, minimums as float32.

    A group of 32 has one scale, and `format.minimums` minimums. Where 16 numbers share a scale, which is an integer
    times that of the block, the numbers are multiplied by the integer.
    """
    code = Code("expand", instructions, ("row", "groups", "words", "scales", "minimums"))
    given = code.arguments
    chunks = code.builder.lshr(given["groups"], code.integer(3))
    with code.loop(chunks) as n:
        _expand(code, format, n, EIGHT)
    if format.numbers == GROUP:
        done = code.times(chunks, EIGHT)
        with code.loop(code.builder.sub(given["groups"], done)) as n:
            _expand(code, format, code.add(n, done), 1)
    return code.text()


def _expand(code: Code, format: Format, index: Any, groups: int) -> None:
    given, build = code.arguments, code.builder
    place = code.add(given["row"], code.times(index, GROUP * groups // format.numbers * format.size))
    unpacked = format.unpack(code, place, groups)
    words = code.add(given["words"], code.times(index, 2 * GROUP * groups))
    for n, quants in enumerate(unpacked.quants):
        halves = code.shorts(quants())
        count = halves[0].type.count
        for odd, half in enumerate(halves):
            zero = code.filled(half.type, 0 if format.minimums else int(format.factor))
            factors = code.filled(half.type, 1)
            if unpacked.factors is not None:
                factors = code.spread(unpacked.factors, 4 * n, count, 8)
            numbers = build.mul(build.add(half, zero), factors)
            for k in range(count // 16):
                part = code.shuffle(numbers, range(16 * k, 16 * k + 16))
                code.store(part, words, 4 * count * n + 64 * k + 32 * odd)
    scales = unpacked.scales if unpacked.factors is None else code.splat(unpacked.scale, groups)
    code.store(scales, code.add(given["scales"], code.times(index, 4 * groups)))
    if format.minimums:
        minimums = build.fmul(unpacked.minimums, code.filled(unpacked.minimums.type, format.factor))
        code.store(minimums, code.add(given["minimums"], code.times(index, 4 * groups * format.minimums)))


def tile(minimums: int, instructions: str) -> str:
    """Two tiles times a block of 8 vectors → float32, `valid` numbers (up to 32) at each of `out`, `out` + `apart`, ….

    `weights`, `weight_scales`, `minimums` are what `transpose` made of expanded rows, the second tile `next` bytes
    after the first; `groups` are 32 inputs each; `first`, `second`, `scales`, `sums` describe the vectors as in
    `ACTIVATIONS`, 8 numbers for each group. With `more` = 1 the products are added to what is at `out`.
    """
    code = Code("tile", instructions, ARGUMENTS)
    for tiles, together in fitting(instructions):
        _tile(code, minimums, tiles, together)
    return code.text()


def fitting(instructions: str) -> Sequence[tuple[Sequence[int], int]]:
    """Which tiles are multiplied together, and by how many vectors at a time: what the registers have room for."""
    return [((0, 1), VECTORS)] if instructions == VNNI else [((0,), VECTORS // 2), ((1,), VECTORS // 2)]


def store(code: Code, total: Any, each: int, v: int) -> None:
    """Write what tile `each` and vector `v` give."""
    given = code.arguments
    left = code.splat(code.add(given["valid"], -TILE * each), TILE)
    valid = code.builder.icmp_signed("<", code.constant(vector(I64, TILE), range(TILE)), left)
    to = code.add(given["out"], code.add(code.times(given["apart"], v), 4 * TILE * each))
    code.add_valid(total, to, valid, given["more"])


def _tile(code: Code, minimums: int, tiles: Sequence[int], together: int) -> None:
    """Some tiles times `together` vectors at a time: the sums of so many products fit into registers.

    The weights of a few groups stay in the level-1 cache for all vectors of the block.
    """
    given, build, floats = code.arguments, code.builder, vector(F32, TILE)
    pairs = [(each, v) for v in range(together) for each in tiles]
    totals = {pair: code.variable(code.filled(floats, 0.0)) for pair in pairs}
    size = 4 * TILE * len(pairs)
    space = code.stack(size * VECTORS // together)
    for n in range(0, size * VECTORS // together, 64):
        code.store(code.filled(floats, 0.0), space, n)
    rounds = build.lshr(code.add(given["groups"], EIGHT - 1), code.integer(3))
    with code.loop(rounds) as each_round:
        first = code.times(each_round, EIGHT)
        left = build.sub(given["groups"], first)
        few = build.icmp_signed("<", left, code.integer(EIGHT))
        count = build.select(few, left, code.integer(EIGHT))
        with code.loop(code.integer(VECTORS // together)) as part:
            kept = code.add(space, code.times(part, size))
            for n, place in enumerate(totals.values()):
                build.store(code.load(floats, kept, 64 * n), place)
            with code.loop(count) as n:
                _add_group(code, minimums, code.add(first, n), code.times(part, 4 * together), totals)
            for n, place in enumerate(totals.values()):
                code.store(build.load(place), kept, 64 * n)
    for part in range(VECTORS // together):
        for n, (each, v) in enumerate(pairs):
            store(code, code.load(floats, space, size * part + 64 * n), each, v + together * part)


def _add_group(code: Code, minimums: int, n: Any, part: Any, totals: Mapping[tuple[int, int], Any]) -> None:
    """Add the products of group `n` to the totals of each tile and vector, from the byte `part` of 8 words on."""
    given, build, floats, ints = code.arguments, code.builder, vector(F32, TILE), vector(I32, TILE)
    pair = vector(I16, 2 * TILE)
    tiles, vectors = ({pair[k]: None for pair in totals} for k in (0, 1))

    def rows(name: str, index: Any, size: int, each: int) -> Any:
        place = code.add(given[name], code.times(index, size))
        return code.add(place, given["next"]) if each else place

    def inputs(name: str, index: Any, size: int) -> Any:
        return code.add(code.add(given[name], code.times(index, size * VECTORS)), part)

    dots = {pair: code.variable(code.filled(ints, 0)) for pair in totals}
    places = {each: rows("weights", n, 2 * GROUP * TILE, each) for each in tiles}
    planes = [inputs(plane, n, GROUP) for plane in PLANES]
    with code.loop(code.integer(GROUP // 4)) as word:
        for odd, plane in enumerate(planes):
            weights = {t: code.load(pair, code.add(places[t], code.times(word, 64)), 512 * odd) for t in tiles}
            for v in vectors:
                x = code.load(I32, code.add(plane, code.times(word, 4 * VECTORS)), 4 * v)
                repeated = build.bitcast(code.splat(x, TILE), pair)
                for t in tiles:
                    build.store(code.dot(build.load(dots[t, v]), weights[t], repeated), dots[t, v])
    scales = {t: code.load(floats, rows("weight_scales", n, 64, t)) for t in tiles}
    more = {
        t: [code.load(floats, rows("minimums", n, 64 * minimums, t), 64 * k) for k in range(minimums)] for t in tiles
    }
    x_scales, x_sums = inputs("scales", n, 4), inputs("sums", n, 4 * minimums)
    for (t, v), place in totals.items():
        total = build.load(place)
        for k in range(minimums):
            x_sum = code.splat(code.load(F32, x_sums, 4 * (VECTORS * k + v)), TILE)
            total = code.fma(more[t][k], x_sum, total)
        x_scale = code.splat(code.load(F32, x_scales, 4 * v), TILE)
        total = code.fma(build.fmul(scales[t], x_scale), build.sitofp(build.load(dots[t, v]), floats), total)
        build.store(total, place)


def quantize(instructions: str, *, tiled: bool) -> str:
    """`groups` groups of 32 float32 at `x` → the planes, scales and sums of one vector, for tiles or for `rows.rows`.

    The planes are int16, those with even numbers and those with odd ones; with VNNI, but not for tiles, they are signed
    bytes of all numbers, x = 256 · first + second.
    `near` is the distance in bytes from 2 numbers of a plane to the next 2: 4 for a vector alone, 32 in a block of 8.
    The other distances: `near` from a scale to the next, too.
    """
    names = ("x", "groups", "near", *PLANES, "scales", "sums", "sums16")
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
        code.store(scale, code.add(given["scales"], build.mul(n, given["near"])))
        sums = []
        for half, x in enumerate(halves):
            scaled = build.fmul(x, code.splat(inverse, 16))
            ints = build.fptosi(code.call("llvm.rint.v16f32", sixteen, scaled), vector(I32, 16))
            sums.append(build.fmul(code.sum(build.sitofp(ints, sixteen)), scale))
            (_store_shorts if tiled or instructions != VNNI else _store_bytes)(code, ints, n, half)
            step = build.mul(code.add(code.times(n, 2), half), given["near"])
            code.store(sums[half], code.add(given["sums16"], step))
        code.store(build.fadd(*sums), code.add(given["sums"], build.mul(n, given["near"])))
    return code.text()


def _store_shorts(code: Code, ints: Any, n: Any, half: int) -> None:
    """Those with even numbers to one plane, those with odd ones to the other."""
    given, build = code.arguments, code.builder
    shorts = build.trunc(ints, vector(I16, 16))
    for odd, plane in enumerate(PLANES):
        words = build.bitcast(code.shuffle(shorts, range(odd, 16, 2)), vector(I32, 4))
        for k in range(4):
            word = build.extract_element(words, code.integer(k, I32))
            step = build.mul(code.add(code.times(n, 8), 4 * half + k), given["near"])
            code.store(word, code.add(given[plane], step))


def _store_bytes(code: Code, ints: Any, n: Any, half: int) -> None:
    """x = 256 · first + second, both signed."""
    given, build = code.arguments, code.builder
    upper = build.ashr(build.add(ints, code.filled(ints.type, 128)), code.filled(ints.type, 8))
    lower = build.sub(ints, build.shl(upper, code.filled(ints.type, 8)))
    for plane, numbers in zip(PLANES, (upper, lower), strict=True):
        place = code.add(given[plane], code.times(n, GROUP))
        code.store(build.trunc(numbers, vector(I8, 16)), place, 16 * half)


LARGEST = 16256
"""The largest quantized number: 32 times it times the largest of `expand`, 2 ** 12 of Q6_K, is below 2 ** 31."""

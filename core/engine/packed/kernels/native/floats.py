"""Rows of plain numbers (F32, F16, BF16) times float32 vectors, with the signatures of `rows` and `tiles`."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.engine.packed.kernels.native import tiles
from core.engine.packed.kernels.native.code import F16, F32, I16, I32, Code, vector
from core.engine.packed.kernels.native.rows import PLANES, ROWS, prefetch
from core.engine.packed.kernels.native.tiles import TILE

SIZES: Mapping[str, int] = {"F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a number."""
LANES = 16
SUMMED = 64
"""Products that a tile adds one after the other before they join its total: sums of fewer terms are more precise."""


def _load(code: Code, name: str, address: Any, count: int) -> Any:
    """`count` numbers as float32."""
    if name == "F32":
        return code.load(vector(F32, count), address)
    if name == "F16":
        return code.builder.fpext(code.load(vector(F16, count), address), vector(F32, count))
    bits = code.builder.zext(code.load(vector(I16, count), address), vector(I32, count))
    return code.builder.bitcast(code.builder.shl(bits, code.filled(bits.type, 16)), vector(F32, count))


def rows(name: str, instructions: str, *, apart: bool = False) -> str:
    """As `rows.rows`, but `groups` counts numbers and `first` is the address of a float32 vector."""
    names = ("row0", "row1", "row2", "row3", "groups", *PLANES, "scales", "sums", "sums16", "ahead", "out")
    code = Code("rows", instructions, names)
    given, size = code.arguments, SIZES[name]
    whole = code.builder.lshr(given["groups"], code.integer(4))
    totals = [code.variable(code.filled(vector(F32, LANES), 0.0)) for _ in range(ROWS)]
    rest = [code.variable(code.filled(vector(F32, 1), 0.0)) for _ in range(ROWS)]
    with code.loop(whole) as n:
        _add(code, name, n, LANES, totals)
        prefetch(code, n, LANES * size, apart=apart)
    done = code.times(whole, LANES)
    with code.loop(code.builder.sub(given["groups"], done)) as n:
        _add(code, name, code.add(n, done), 1, rest)
    for n, (total, last) in enumerate(zip(totals, rest, strict=True)):
        sum = code.builder.fadd(code.sum(code.builder.load(total)), code.sum(code.builder.load(last)))
        code.store(sum, given["out"], 4 * n)
    return code.text()


def _add(code: Code, name: str, index: Any, count: int, totals: list[Any]) -> None:
    """Add products of `count` numbers from the `index`-th such on to the total of each row."""
    x = code.load(vector(F32, count), code.add(code.arguments["first"], code.times(index, 4 * count)))
    for row, total in enumerate(totals):
        place = code.add(code.arguments[f"row{row}"], code.times(index, SIZES[name] * count))
        code.builder.store(code.fma(_load(code, name, place, count), x, code.builder.load(total)), total)


def plain(name: str, instructions: str) -> str:
    """As `rows.plain` and `tiles.expand`, but `groups` counts numbers, and they go to the third address as float32."""
    code = Code("plain", instructions, ("row", "groups", "quants", "scales", "minimums"))
    given = code.arguments
    whole = code.builder.lshr(given["groups"], code.integer(4))
    with code.loop(whole) as n:
        _unpack(code, name, n, LANES)
    done = code.times(whole, LANES)
    with code.loop(code.builder.sub(given["groups"], done)) as n:
        _unpack(code, name, code.add(n, done), 1)
    return code.text()


def _unpack(code: Code, name: str, index: Any, count: int) -> None:
    given = code.arguments
    numbers = _load(code, name, code.add(given["row"], code.times(index, SIZES[name] * count)), count)
    code.store(numbers, code.add(given["quants"], code.times(index, 4 * count)))


def tile(instructions: str) -> str:
    """As `tiles.tile`, but `groups` counts numbers, and `weights` are float32 [numbers, 16].

    `first` is the address of the first of up to 8 float32 vectors, `second` the bytes from one to the next, `scales`
    the number of the last one, which stands for missing ones.
    """
    code = Code("tile", instructions, tiles.ARGUMENTS)
    for some, together in tiles.fitting(instructions):
        for first in range(0, tiles.VECTORS, together):
            _tile(code, some, range(first, first + together))
    return code.text()


def _tile(code: Code, some: Sequence[int], vectors: Sequence[int]) -> None:
    """Some tiles times some vectors, whose sums fit into registers."""
    given, build, lanes = code.arguments, code.builder, vector(F32, TILE)
    zero = code.filled(lanes, 0.0)
    pairs = [(each, v) for v in vectors for each in some]
    totals, sums = ({pair: code.variable(zero) for pair in pairs} for _ in range(2))
    inputs = {}
    for v in vectors:
        missing = build.icmp_signed("<", given["scales"], code.integer(v))
        number = build.select(missing, given["scales"], code.integer(v))
        inputs[v] = code.add(given["first"], code.times(given["second"], number))
    rounds = build.lshr(code.add(given["groups"], SUMMED - 1), code.integer(SUMMED.bit_length() - 1))
    with code.loop(rounds) as each_round:
        done = code.times(each_round, SUMMED)
        left = build.sub(given["groups"], done)
        few = build.icmp_signed("<", left, code.integer(SUMMED))
        for place in sums.values():
            build.store(zero, place)
        with code.loop(build.select(few, left, code.integer(SUMMED))) as n:
            number = code.add(n, done)
            row = code.add(given["weights"], code.times(number, 4 * TILE))
            weights = {each: code.load(lanes, code.add(row, given["next"]) if each else row) for each in some}
            for v in vectors:
                x = code.splat(code.load(F32, code.add(inputs[v], code.times(number, 4))), TILE)
                for each in some:
                    build.store(code.fma(weights[each], x, build.load(sums[each, v])), sums[each, v])
        for pair in pairs:
            build.store(build.fadd(build.load(totals[pair]), build.load(sums[pair])), totals[pair])
    for each, v in pairs:
        tiles.store(code, build.load(totals[each, v]), each, v)

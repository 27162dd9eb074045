"""One vector times rows of blocks: what a single token needs. Also one row unpacked.

The vector is quantized to 15 bits, one scale for 32 numbers, in two planes: see `tiles.quantize`.
For a group of a row, with weights w = s q + m:  Σ w x = s · scale · Σ q x + m Σ x, with integers q and x.
The products are exact; a lane of 32 bits sums four, or with VNNI eight.
"""

from collections.abc import Callable, Sequence
from typing import Any

from core.engine.packed.kernels.native import formats
from core.engine.packed.kernels.native.code import F32, I8, I16, I32, VNNI, Code, vector
from core.engine.packed.kernels.native.formats import Format, Unpacked

ROWS = 4
"""Rows that are multiplied together: they share what is loaded of the vector."""
PLANES = ("first", "second")
"""Arguments: the two planes of a quantized vector, see `tiles.quantize`."""
EIGHT = 256
"""Numbers that are unpacked together: eight groups of 32."""


def rows(format: Format, instructions: str, *, apart: bool = False) -> str:
    """Four rows times a vector → float32 [4] at `out`.

    `row0` … are addresses of rows, which may be equal; `groups` counts groups of 32; `first`, `second`, `scales`,
    `sums` are as in `ACTIVATIONS`. As many bytes are prefetched from `ahead` bytes after `row0` on, or if the rows lie
    `apart`, as many from `ahead` after each row on.
    """
    names = ("row0", "row1", "row2", "row3", "groups", *PLANES, "scales", "sums", "sums16", "ahead", "out")
    code = Code("rows", instructions, names)
    given = code.arguments
    addresses = [given[f"row{n}"] for n in range(ROWS)]
    chunks = code.builder.lshr(given["groups"], code.integer(3))
    scales = EIGHT // format.group
    sums = [_Sums(code, 16, scales) for _ in range(ROWS)]
    spread = _Spread(code, format.group)
    size = EIGHT // format.numbers * format.size
    with code.loop(chunks) as n:
        start = code.times(n, size)
        prefetch(code, n, size, apart=apart)
        _multiply(code, format, [code.add(each, start) for each in addresses], n, 8, sums, spread)
    if format.numbers < EIGHT:
        rest = [_Sums(code, 8, 1) for _ in range(ROWS)]
        done = code.times(chunks, 8)
        with code.loop(code.builder.sub(given["groups"], done)) as n:
            group = code.add(n, done)
            start = code.times(group, format.size)
            prefetch(code, group, format.size, apart=apart)
            _multiply(code, format, [code.add(each, start) for each in addresses], group, 1, rest, spread)
        sums = [each.joined(other) for each, other in zip(sums, rest, strict=True)]
    code.store(code.four_sums([each.lanes(format.factor) for each in sums]), given["out"])
    return code.text()


def prefetch(code: Code, n: Any, size: int, *, apart: bool) -> None:
    """The `n`-th `size` bytes of each of the four rows for which the arguments of `rows` ask."""
    count = ROWS if apart else 1
    size *= ROWS // count
    for row in range(count):
        place = code.add(code.add(code.arguments[f"row{row}"], code.arguments["ahead"]), code.times(n, size))
        for line in range(0, size, 64):
            code.prefetch(place, line)


class _Spread:
    """Repeats the scales of a row for the lanes of its products.

    By loads, since AVX2 has few ports for shuffles; LLVM would shuffle registers if it knew where the scales are.
    """

    def __init__(self, code: Code, group: int) -> None:
        self.code, self.repeat = code, group // 4
        self.place = code.stack(64 * ROWS)
        self.known = code.concealed(self.place)

    def __call__(self, scales: Any, lanes: int, row: int) -> Callable[[int], Any]:
        """Gives the k-th vector: its lane n is number `(k · lanes + n) // repeat` of `scales`."""
        code, each = self.code, lanes // self.repeat
        code.store(scales, self.place, 64 * row)
        place = 64 * row

        def loaded(k: int) -> Any:
            numbers = (code.load(F32, self.known, place + 4 * (k * each + n)) for n in range(each))
            return code.joined([code.splat(number, self.repeat) for number in numbers])

        return loaded


class _Sums:
    """The sums of one row: of scaled products, and of minimums times sums of the vector."""

    def __init__(self, code: Code, lanes: int, groups: int) -> None:
        self.code = code
        self.products, self.minimums = (code.variable(code.filled(vector(F32, n), 0.0)) for n in (lanes, groups))
        self.others: list[_Sums] = []

    def add(self, place: Any, a: Any, b: Any) -> None:
        self.code.builder.store(self.code.fma(a, b, self.code.builder.load(place)), place)

    def joined(self, other: "_Sums") -> "_Sums":
        self.others.append(other)
        return self

    def lanes(self, factor: float) -> Any:
        """Eight numbers whose sum is that of the row."""
        products, minimums = (self.code.builder.load(place) for place in (self.products, self.minimums))
        minimums = self.code.folded(minimums, 8)
        eight = self.code.filled(minimums.type, factor)
        whole = self.code.fma(minimums, eight, self.code.folded(products, 8))
        for other in self.others:
            whole = self.code.builder.fadd(whole, other.lanes(factor))
        return whole


def _multiply(
    code: Code, format: Format, rows: Sequence[Any], index: Any, groups: int, sums: Sequence[_Sums], spread: _Spread
) -> None:
    """Add the products of `groups` groups from the `index`-th such number on."""
    given, build = code.arguments, code.builder
    bytes_start = code.times(index, 32 * groups)
    width = min(64, 32 * groups)
    lanes = width // 4
    x_scales = code.load(vector(F32, groups), code.add(given["scales"], code.times(index, 4 * groups)))
    count = groups * 32 // format.group
    if format.group == 16:
        x_scales = code.spread(x_scales, 0, count, 2)
    which = "sums" if format.group == 32 else "sums16"
    x_sums = code.load(vector(F32, count), code.add(given[which], code.times(index, 4 * count)))
    unpacked = [format.unpack(code, row, groups) for row in rows]
    if code.instructions == VNNI and (pairs := unpacked[0].pairs):
        factors = [1 / pairs.multiples[n % len(pairs.multiples)] for n in range(count)]
        x_scales = build.fmul(x_scales, code.constant(x_scales.type, factors))
    scales = [build.fmul(each.scales, x_scales) for each in unpacked]
    for each, sum in zip(unpacked, sums, strict=True):
        sum.add(sum.minimums, each.scales if each.minimums is None else each.minimums, x_sums)
    if code.instructions == VNNI:
        planes = [code.add(given[plane], bytes_start) for plane in PLANES]
        _multiply_bytes(code, format, unpacked, scales, planes, sums)
        return
    spreads = [spread(each, lanes, n) for n, each in enumerate(scales)]
    for n in range(len(unpacked[0].quants)):
        even, odd = (
            code.load(vector(I16, width // 2), code.add(given[plane], bytes_start), n * width) for plane in PLANES
        )
        for row, sum in enumerate(sums):
            evens, odds = code.shorts(unpacked[row].quants[n]())
            dots = code.dot_eights(code.dot_eights(code.filled(vector(I32, lanes), 0), evens, even), odds, odd)
            sum.add(sum.products, spreads[row](n), build.sitofp(dots, vector(F32, lanes)))


def _multiply_bytes(
    code: Code,
    format: Format,
    unpacked: Sequence[Unpacked],
    scales: Sequence[Any],
    planes: Sequence[Any],
    sums: Sequence["_Sums"],
) -> None:
    """Add the products with planes of bytes, of which the first counts 256 times: 128 numbers of a row at once."""
    build = code.builder
    pairs = [formats.pairs(code, each) for each in unpacked]
    order, count = pairs[0].order, len(pairs[0].order)
    lanes = min(count // 4, 16)
    groups = [order[4 * lane] // format.group for lane in range(lanes)]
    for n in range(len(pairs[0].vectors)):
        inputs = [_in_order(code, plane, count * n, order) for plane in planes]
        for row, sum in enumerate(sums):
            quants = pairs[row].vectors[n]()
            dots = code.filled(vector(I32, lanes), 0)
            for plane, parts in enumerate(inputs):
                if plane:
                    dots = build.shl(dots, code.filled(dots.type, 8))
                for each, x in zip(quants, parts, strict=True):
                    dots = code.dot_bytes(dots, each, x)
            scale = code.shuffle(scales[row], [group + n * (count // format.group) for group in groups])
            sum.add(sum.products, scale, build.sitofp(dots, vector(F32, lanes)))


def _in_order(code: Code, plane: Any, start: int, order: Sequence[int]) -> Sequence[Any]:
    """Bytes of a plane from `start` on in the order of `Pairs`."""
    if len(order) < 64:
        return [code.load(vector(I8, len(order)), plane, start)]
    first, second = (code.load(vector(I8, 64), plane, start + offset) for offset in (0, 64))
    return [code.shuffle(first, order[n : n + 64], second) for n in (0, 64)]


def plain(format: Format, instructions: str) -> str:
    """One row unpacked: q as bytes [32 · groups], scales and minimums as float32 [numbers / group]."""
    code = Code("plain", instructions, ("row", "groups", "quants", "scales", "minimums"))
    given = code.arguments
    chunks = code.builder.lshr(given["groups"], code.integer(3))
    with code.loop(chunks) as n:
        _unpack(code, format, n, 8)
    if format.numbers < EIGHT:
        done = code.times(chunks, 8)
        with code.loop(code.builder.sub(given["groups"], done)) as n:
            _unpack(code, format, code.add(n, done), 1)
    return code.text()


def _unpack(code: Code, format: Format, index: Any, groups: int) -> None:
    given = code.arguments
    size = 32 * groups * format.size // format.numbers if groups == 8 else format.size
    unpacked = format.unpack(code, code.add(given["row"], code.times(index, size)), groups)
    quants = code.add(given["quants"], code.times(index, 32 * groups))
    for n, each in enumerate(unpacked.quants):
        code.store(each(), quants, 64 * n)
    minimums = unpacked.scales if unpacked.minimums is None else unpacked.minimums
    minimums = code.builder.fmul(minimums, code.filled(minimums.type, format.factor))
    for name, each in (("scales", unpacked.scales), ("minimums", minimums)):
        code.store(each, code.add(given[name], code.times(index, 4 * each.type.count)))

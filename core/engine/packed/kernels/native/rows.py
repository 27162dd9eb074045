"""One vector times rows of blocks: what a single token needs. Also one row unpacked.

The vector is quantized to 15 bits, one scale for 32 numbers, in two planes: those with even numbers and with odd ones.
For a group of a row, with weights w = s q + m:  Σ w x = s · scale · Σ q x + m Σ x, with integers q and x.
The products are exact; a lane of 32 bits sums four.
"""

from collections.abc import Callable, Sequence
from typing import Any

from core.engine.packed.kernels.native.code import F32, I16, I32, VNNI, Code, vector
from core.engine.packed.kernels.native.formats import Format

ROWS = 4
"""Rows that are multiplied together: they share what is loaded of the vector."""
EIGHT = 256
"""Numbers that are unpacked together: eight groups of 32."""


def rows(format: Format, instructions: str) -> str:
    """Four rows times a vector → float32 [4] at `out`.

    `row0` … are addresses of rows, which may be equal; `groups` counts groups of 32; `even`, `odd`, `scales`, `sums`
    are as in `ACTIVATIONS`; `ahead` is the distance in bytes of what is to be prefetched.
    """
    names = ("row0", "row1", "row2", "row3", "groups", "even", "odd", "scales", "sums", "sums16", "ahead", "out")
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
        far = code.add(code.add(addresses[0], given["ahead"]), code.times(n, ROWS * size))
        for line in range(0, ROWS * size, 64):
            code.prefetch(far, line)
        _multiply(code, format, [code.add(each, start) for each in addresses], n, 8, sums, spread)
    if format.numbers < EIGHT:
        rest = [_Sums(code, 8, 1) for _ in range(ROWS)]
        done = code.times(chunks, 8)
        with code.loop(code.builder.sub(given["groups"], done)) as n:
            group = code.add(n, done)
            start = code.times(group, format.size)
            _multiply(code, format, [code.add(each, start) for each in addresses], group, 1, rest, spread)
        sums = [each.joined(other) for each, other in zip(sums, rest, strict=True)]
    for n, each in enumerate(sums):
        code.store(each.total(format.factor), given["out"], 4 * n)
    return code.text()


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
        if code.instructions == VNNI:
            return lambda k: code.spread(scales, k * each, lanes, self.repeat)
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

    def total(self, factor: float) -> Any:
        load, build = self.code.builder.load, self.code.builder
        products, minimums = (self.code.sum(load(place)) for place in (self.products, self.minimums))
        whole = build.fadd(products, build.fmul(minimums, self.code.filled_number(factor)))
        for other in self.others:
            whole = build.fadd(whole, other.total(factor))
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
    quants: list[Sequence[Callable[[], Any]]] = []
    scales: list[Callable[[int], Any]] = []
    for row, sum in zip(rows, sums, strict=True):
        unpacked = format.unpack(code, row, groups)
        quants.append(unpacked.quants)
        scales.append(spread(build.fmul(unpacked.scales, x_scales), lanes, len(scales)))
        sum.add(sum.minimums, unpacked.scales if unpacked.minimums is None else unpacked.minimums, x_sums)
    for n in range(len(quants[0])):
        even, odd = (
            code.load(vector(I16, width // 2), code.add(given[plane], bytes_start), n * width)
            for plane in ("even", "odd")
        )
        for row, sum in enumerate(sums):
            evens, odds = code.shorts(quants[row][n]())
            dots = code.dot(code.dot(code.filled(vector(I32, lanes), 0), evens, even), odds, odd)
            sum.add(sum.products, scales[row](n), build.sitofp(dots, vector(F32, lanes)))


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

"""How GGUF's quantized blocks lie in memory, as instructions that unpack them.

Each number is scale · q + minimum, with an unsigned integer q of 2 to 8 bits. 16 or 32 neighbours share scale and
minimum. Where a format has no minimum, q is its signed integer plus a constant, and minimum = - constant · scale.
Sources: ggml-quants.c and ggml-common.h of llama.cpp, and the gguf package's `quants.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from core.engine.packed.kernels.native.code import F16, F32, I1, I8, I16, I32, I64, Code, vector

BYTES64, BYTES32, BYTES16 = (vector(I8, count) for count in (64, 32, 16))
CURVE = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""The 16 levels of IQ4_NL and IQ4_XS (`kvalues_iq4nl`)."""
GROUP = 32
"""Numbers of a group: those whose activations share a scale."""
LEVELS = tuple(level + 128 for level in CURVE)


class Pairs(NamedTuple):
    """256 numbers of a row, each 128 of them as two vectors of 64 unsigned bytes, in an order that is quickly unpacked.

    What stands at the same 4 bytes of both vectors is of one group, so that a lane can sum it. Of only 32 numbers there
    is one vector.
    """

    order: Sequence[int]
    """Which of 128 neighbours stand in the first vector, then in the second."""
    vectors: Sequence[Callable[[], Sequence[Any]]]
    multiples: Sequence[float] = (1,)
    """What the numbers of the first group, the second … are multiplied by there; then from the start again."""


class Unpacked(NamedTuple):
    """Neighbouring numbers of a row, in their order."""

    quants: Sequence[Callable[[], Any]]
    """Each writes, when it is called, instructions for the next 64 (or the only 32) of q, a vector of unsigned bytes.

    So they stand where q is used: processors have registers for few of them.
    """
    scales: Any
    """float32, one for each group."""
    minimums: Any = None
    """float32, to be multiplied by the format's `factor`; None where they are the scales."""
    factors: Any = None
    """int16, one for each 16 numbers, and float32: their products are the scales. None where 32 share a scale."""
    scale: Any = None
    pairs: Pairs | None = None
    """The same numbers once more; None where there is no quicker order than that of `pairs`."""


@dataclass(frozen=True)
class Format:
    """One block format."""

    name: str
    numbers: int
    """In a block."""
    size: int
    """Bytes of a block."""
    unpack: Callable[[Code, Any, int], Unpacked]
    """Writes instructions that unpack 256 numbers at an address, or with a last argument of 1 a block of 32."""
    group: int = 32
    """Neighbours that share a scale."""
    factor: float = 1.0
    """Multiplies the minimums."""
    minimums: int = 0
    """How many minimums 32 numbers have; 0 where they are `factor` times the scales."""


# Pairs of vectors ----------------------------------------------------------------------------------------------------

_WOVEN = tuple(
    64 * both + 16 * k + 8 * odd + n for odd in (0, 1) for k in range(4) for both in (0, 1) for n in range(8)
)
_HALVES = tuple(32 * k + 16 * upper + n for upper in (0, 1) for k in range(4) for n in range(16))
_NIBBLES = tuple(number // 64 * 32 + number // 32 % 2 * 64 + number % 32 for number in _WOVEN)


def woven(code: Code, vectors: Sequence[Any]) -> tuple[Any, Any]:
    """Of each 8 bytes of two vectors those with even numbers, and those with odd ones."""
    first, second = (code.builder.bitcast(each, vector(I64, 8)) for each in vectors)
    a, b = (code.shuffle(first, [n + 8 * k + odd for n in range(0, 8, 2) for k in (0, 1)], second) for odd in (0, 1))
    return code.builder.bitcast(a, BYTES64), code.builder.bitcast(b, BYTES64)


def _woven_quants(code: Code, quants: Sequence[Callable[[], Any]]) -> tuple[Any, Any]:
    return woven(code, [each() for each in quants])


def pairs(code: Code, unpacked: Unpacked) -> Pairs:
    """The numbers of `unpacked` as pairs of vectors."""
    quants = unpacked.quants
    if len(quants) == 1:
        return Pairs(range(GROUP), [lambda: [quants[0]()]])
    both = [partial(_woven_quants, code, quants[n : n + 2]) for n in range(0, len(quants), 2)]
    return unpacked.pairs or Pairs(_WOVEN, both)


def _low_and_high(code: Code, packed: Any) -> tuple[Any, Any]:
    """The low 4 bits of each byte, and the high ones."""
    shorts, low = vector(I16, packed.type.count // 2), code.filled(packed.type, 15)
    high = code.builder.lshr(code.builder.bitcast(packed, shorts), code.filled(shorts, 4))
    return code.builder.and_(packed, low), code.builder.and_(code.builder.bitcast(high, packed.type), low)


def _nibbles(code: Code, packed: Any) -> Any:
    """Of each 16 bytes the low 4 bits, then the high ones: [16 n] packed twice over → [32 n]."""
    lanes = vector(I64, packed.type.count // 8)
    shifts = code.constant(lanes, [0, 0, 4, 4] * (lanes.count // 4))
    shifted = code.builder.bitcast(code.builder.lshr(code.builder.bitcast(packed, lanes), shifts), packed.type)
    return code.builder.and_(shifted, code.filled(packed.type, 15))


def _small(
    code: Code, address: Any, count: int, size: int, *, minimum: bool, high: bool, table: bool = False
) -> Unpacked:
    """`count` blocks of 32: a float16 scale, perhaps a minimum, perhaps a fifth bit of each, 16 bytes of 4 bits."""
    places = [size * n for n in range(count)]
    header = 4 if minimum else 2

    def quants(some: list[int]) -> Any:
        packed = [code.load(BYTES16, address, place + header + 4 * high) for place in some]
        result = _nibbles(code, code.joined([code.shuffle(each, [*range(16), *range(16)]) for each in packed]))
        if table:
            result = code.lookup(LEVELS, result)
        if not high:
            return result
        bits = [code.load(I32, address, place + header) for place in some]
        if len(bits) == 1:
            return _with_bits(code, result, bits[0], 16)
        low, high_half = (code.builder.zext(each, I64) for each in bits)
        both = code.builder.or_(low, code.builder.shl(high_half, code.integer(32)))
        return _with_bits(code, result, both, 16)

    def pair(n: int) -> tuple[Any, Any]:
        start, moved = 4 * size * n, 4 * size - 64
        both = [code.load(BYTES64, address, start + offset) for offset in (0, moved)]
        order = [size * k + header + 4 * high + each for k in range(4) for each in range(16)]
        packed = code.shuffle(both[0], [each if each < 64 else each - moved + 64 for each in order], both[1])
        parts = _low_and_high(code, packed)
        if table:
            parts = tuple(code.lookup(LEVELS, each) for each in parts)
        if high:
            bits = (_words(code, address, [start + size * k + header + 2 * odd for k in range(4)]) for odd in (0, 1))
            parts = tuple(_with_bits(code, *each, 16) for each in zip(parts, bits, strict=True))
        return parts

    scales = _halves(code, address, places)
    minimums = _halves(code, address, [place + 2 for place in places]) if minimum else None
    found = [partial(quants, places[n : n + 2]) for n in range(0, count, 2)]
    return Unpacked(found, scales, minimums, pairs=Pairs(_HALVES, [partial(pair, n) for n in (0, 1)]))


def _words(code: Code, address: Any, places: Sequence[int]) -> Any:
    """Four words of 16 bits as one of 64: without vectors, for which there is more to do."""
    words = [code.builder.zext(code.load(I16, address, place), I64) for place in places]
    for n in (1, 2, 3):
        words[0] = code.builder.or_(words[0], code.builder.shl(words[n], code.integer(16 * n)))
    return words[0]


def _with_bits(code: Code, quants: Any, bits: Any, value: int) -> Any:
    """`value` or-ed to each byte whose bit of an integer is set."""
    mask = code.builder.bitcast(bits, vector(I1, quants.type.count))
    return _with_mask(code, quants, mask, value)


def _with_mask(code: Code, quants: Any, mask: Any, value: int) -> Any:
    added = code.builder.select(mask, code.filled(quants.type, value), code.filled(quants.type, 0))
    return code.builder.or_(quants, added)


def _halves(code: Code, address: Any, places: list[int]) -> Any:
    """float16 at these offsets, as a vector of float32."""
    if len(places) == 8:
        words = code.collected([_words(code, address, places[n : n + 4]) for n in (0, 4)])
        return _to_float(code, code.builder.bitcast(words, vector(I16, 8)))
    halves = code.collected([code.load(I16, address, place) for place in places])
    return _to_float(code, halves)


def _to_float(code: Code, shorts: Any) -> Any:
    count = shorts.type.count
    halves = code.builder.bitcast(shorts, vector(F16, count))
    return code.builder.fpext(halves, vector(F32, count))


def _q8_0(code: Code, address: Any, count: int) -> Unpacked:
    places = [34 * n for n in range(count)]

    def quants(some: list[int]) -> Any:
        signed = code.joined([code.load(BYTES32, address, place + 2) for place in some])
        return code.builder.xor(signed, code.filled(signed.type, 128))

    scales = _halves(code, address, places)
    return Unpacked([partial(quants, places[n : n + 2]) for n in range(0, count, 2)], scales)


# Blocks of 256 -------------------------------------------------------------------------------------------------------


def _floats(code: Code, small: Any) -> Any:
    """Small integers as float32."""
    return code.builder.sitofp(code.builder.zext(small, vector(I32, small.type.count)), vector(F32, small.type.count))


def _by_16(
    code: Code, quants: Sequence[Callable[[], Any]], bytes: Any, address: Any, offset: int, minimums: Any = None
) -> Unpacked:
    """Quants whose scales are 16 signed bytes times the float16 there."""
    factors, scale = code.builder.sext(bytes, vector(I16, 16)), code.half(address, offset)
    floats = code.builder.sitofp(code.builder.sext(bytes, vector(I32, 16)), vector(F32, 16))
    return Unpacked(quants, code.builder.fmul(floats, code.splat(scale, 16)), minimums, factors, scale)


def _scaled(code: Code, numbers: Any, address: Any, offset: int) -> Any:
    """Times the float16 there."""
    count = numbers.type.count
    return code.builder.fmul(numbers, _to_float(code, code.splat(code.load(I16, address, offset), count)))


def _shifted(code: Code, packed: Any, shifts: list[int], mask: int) -> Any:
    """[32] bytes, repeated for each shift, shifted right and masked."""
    both = code.shuffle(packed, list(range(32)) * len(shifts))
    lanes = vector(I64, both.type.count // 8)
    by = code.constant(lanes, [shift for shift in shifts for _ in range(4)])
    moved = code.builder.bitcast(code.builder.lshr(code.builder.bitcast(both, lanes), by), both.type)
    return code.builder.and_(moved, code.filled(both.type, mask))


def _six_bits(code: Code, address: Any) -> tuple[Any, Any]:
    """The 8 scales and 8 minimums of Q4_K and Q5_K, 6 bits each in 12 bytes (`get_scale_min_k4`)."""
    build = code.builder
    a, b, c = (code.load(I32, address, 4 + 4 * n) for n in range(3))

    def masked(value: Any, shift: int, mask: int) -> Any:
        return build.and_(build.lshr(value, code.integer(shift, I32)), code.integer(mask, I32))

    def both(low: Any, shift: int) -> Any:
        lower, upper = masked(c, shift, 0x0F0F0F0F), masked(low, 2, 0x30303030)
        four, more = (build.zext(each, I64) for each in (masked(low, 0, 0x3F3F3F3F), build.or_(lower, upper)))
        return build.bitcast(build.or_(four, build.shl(more, code.integer(32))), vector(I8, 8))

    return both(a, 0), both(b, 4)


def _q4_k(code: Code, address: Any, _: int) -> Unpacked:
    def quants(n: int) -> Any:
        return _shifted(code, code.load(BYTES32, address, 16 + 32 * n), [0, 4], 15)

    def pair(n: int) -> tuple[Any, Any]:
        packed = code.load(BYTES64, address, 16 + 64 * n)
        return woven(code, [code.builder.and_(packed, code.filled(BYTES64, mask)) for mask in (0x0F, 0xF0)])

    scales, minimums = (_floats(code, each) for each in _six_bits(code, address))
    scales, minimums = _scaled(code, scales, address, 0), _scaled(code, minimums, address, 2)
    found = [partial(quants, n) for n in range(4)]
    return Unpacked(found, scales, minimums, pairs=Pairs(_NIBBLES, [partial(pair, n) for n in (0, 1)], (1, 16)))


def _q5_k(code: Code, address: Any, _: int) -> Unpacked:
    def quants(n: int) -> Any:
        high = code.shuffle(code.load(BYTES32, address, 16), [*range(32), *range(32)])
        low = _shifted(code, code.load(BYTES32, address, 48 + 32 * n), [0, 4], 15)
        bits = code.constant(BYTES64, [1 << 2 * n] * 32 + [2 << 2 * n] * 32)
        mask = code.builder.icmp_unsigned("!=", code.builder.and_(high, bits), code.filled(BYTES64, 0))
        return _with_mask(code, low, mask, 16)

    def pair(n: int) -> tuple[Any, Any]:
        build, lanes = code.builder, vector(I64, 8)
        fifth = code.shuffle(code.load(BYTES32, address, 16), [*range(32), *range(32)])
        parts = _low_and_high(code, code.load(BYTES64, address, 48 + 64 * n))

        def with_fifth(part: Any, odd: int) -> Any:
            by = [(4 * n + 2 * half + odd - 4) * (1 if n else -1) for half in (0, 1) for _ in range(4)]
            move = build.lshr if n else build.shl
            moved = build.bitcast(move(build.bitcast(fifth, lanes), code.constant(lanes, by)), BYTES64)
            return build.or_(part, build.and_(moved, code.filled(BYTES64, 16)))

        return woven(code, [with_fifth(part, odd) for odd, part in enumerate(parts)])

    scales, minimums = (_floats(code, each) for each in _six_bits(code, address))
    scales, minimums = _scaled(code, scales, address, 0), _scaled(code, minimums, address, 2)
    found = [partial(quants, n) for n in range(4)]
    return Unpacked(found, scales, minimums, pairs=Pairs(_NIBBLES, [partial(pair, n) for n in (0, 1)]))


def _q6_k(code: Code, address: Any, _: int) -> Unpacked:
    build, shorts, lanes = code.builder, vector(I16, 32), vector(I64, 8)

    def quants(half: int, upper: int) -> Any:
        low = code.load(BYTES64, address, 64 * half)
        high = code.shuffle(code.load(BYTES32, address, 128 + 32 * half), [*range(32), *range(32)])
        if upper:
            low = build.bitcast(build.lshr(build.bitcast(low, shorts), code.filled(shorts, 4)), BYTES64)
        move, by = (build.lshr, [0, 2]) if upper else (build.shl, [4, 2])
        moved = move(build.bitcast(high, lanes), code.constant(lanes, [shift for shift in by for _ in range(4)]))
        high = build.and_(build.bitcast(moved, BYTES64), code.filled(BYTES64, 48))
        return build.or_(build.and_(low, code.filled(BYTES64, 15)), high)

    parts = [partial(quants, half, upper) for half in (0, 1) for upper in (0, 1)]
    return _by_16(code, parts, code.load(BYTES16, address, 192), address, 208)


def _q2_k(code: Code, address: Any, _: int) -> Unpacked:
    def quants(half: int, shifts: list[int]) -> Any:
        return _shifted(code, code.load(BYTES32, address, 16 + 32 * half), shifts, 3)

    parts = [partial(quants, half, shifts) for half in (0, 1) for shifts in ([0, 2], [4, 6])]
    both = code.load(BYTES16, address, 0)
    scales = code.builder.and_(both, code.filled(BYTES16, 15))
    minimums = _floats(code, code.builder.lshr(both, code.filled(BYTES16, 4)))
    return _by_16(code, parts, scales, address, 80, _scaled(code, minimums, address, 82))


def _q3_k(code: Code, address: Any, _: int) -> Unpacked:
    build = code.builder

    def quants(half: int, n: int) -> Any:
        mask = code.shuffle(code.load(BYTES32, address, 0), [*range(32), *range(32)])
        first = 1 << (4 * half + 2 * n)
        bits = build.and_(mask, code.constant(BYTES64, [first] * 32 + [2 * first] * 32))
        found = build.icmp_unsigned("!=", bits, code.filled(BYTES64, 0))
        low = _shifted(code, code.load(BYTES32, address, 32 + 32 * half), [4 * n, 4 * n + 2], 3)
        return _with_mask(code, low, found, 4)

    low = code.load(I64, address, 96)
    low = code.collected([low, build.lshr(low, code.integer(4))])
    low = build.and_(build.bitcast(low, BYTES16), code.filled(BYTES16, 15))
    high = code.load(I32, address, 104)
    high = code.collected([build.lshr(high, code.integer(2 * n, I32)) for n in range(4)])
    high = build.and_(build.bitcast(high, BYTES16), code.filled(BYTES16, 3))
    six = build.or_(low, build.mul(high, code.filled(BYTES16, 16)))
    parts = [partial(quants, half, n) for half in (0, 1) for n in (0, 1)]
    return _by_16(code, parts, build.sub(six, code.filled(BYTES16, 32)), address, 108)


def _iq4_xs(code: Code, address: Any, _: int) -> Unpacked:
    build, eight = code.builder, vector(I32, 8)

    def quants(n: int) -> Any:
        packed = [code.load(BYTES16, address, 8 + 32 * n + 16 * k) for k in (0, 1)]
        twice = code.joined([code.shuffle(each, [*range(16), *range(16)]) for each in packed])
        return code.lookup(LEVELS, _nibbles(code, twice))

    def pair(n: int) -> tuple[Any, Any]:
        low, high = _low_and_high(code, code.load(BYTES64, address, 8 + 64 * n))
        return code.lookup(LEVELS, low), code.lookup(LEVELS, high)

    low, high = code.load(I32, address, 4), build.zext(code.load(I16, address, 2), I32)
    four = build.lshr(code.splat(low, 8), code.constant(eight, range(0, 32, 4)))
    two = build.lshr(code.splat(high, 8), code.constant(eight, range(0, 16, 2)))
    upper = build.shl(build.and_(two, code.filled(eight, 3)), code.filled(eight, 4))
    six = build.or_(build.and_(four, code.filled(eight, 15)), upper)
    scales = build.sitofp(build.sub(six, code.filled(eight, 32)), vector(F32, 8))
    found = [partial(quants, n) for n in range(4)]
    halves = Pairs(_HALVES, [partial(pair, n) for n in (0, 1)])
    return Unpacked(found, _scaled(code, scales, address, 0), pairs=halves)


def _blocks_of_32(size: int, **parts: bool) -> Callable[[Code, Any, int], Unpacked]:
    return lambda code, address, count: _small(code, address, count, size, **parts)


_ALL = (
    Format("Q4_0", 32, 18, _blocks_of_32(18, minimum=False, high=False), factor=-8),
    Format("Q4_1", 32, 20, _blocks_of_32(20, minimum=True, high=False), minimums=1),
    Format("Q5_0", 32, 22, _blocks_of_32(22, minimum=False, high=True), factor=-16),
    Format("Q5_1", 32, 24, _blocks_of_32(24, minimum=True, high=True), minimums=1),
    Format("Q8_0", 32, 34, _q8_0, factor=-128),
    Format("IQ4_NL", 32, 18, _blocks_of_32(18, minimum=False, high=False, table=True), factor=-128),
    Format("Q2_K", 256, 84, _q2_k, group=16, factor=-1, minimums=2),
    Format("Q3_K", 256, 110, _q3_k, group=16, factor=-4),
    Format("Q4_K", 256, 144, _q4_k, factor=-1, minimums=1),
    Format("Q5_K", 256, 176, _q5_k, factor=-1, minimums=1),
    Format("Q6_K", 256, 210, _q6_k, group=16, factor=-32),
    Format("IQ4_XS", 256, 136, _iq4_xs, factor=-128),
)
FORMATS: Mapping[str, Format] = {each.name: each for each in _ALL}
"""Every format that has a kernel, by GGUF's name."""

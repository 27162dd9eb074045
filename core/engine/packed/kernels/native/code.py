"""Writes one function in LLVM instructions: addresses, loops, vectors of 64 bytes.

Vectors are as wide as AVX-512's registers; LLVM splits them for processors with narrower ones. Only the product of
bytes (`Code.dot`) and the lookup in a table of bytes are written for each instruction set.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F16, F32 = ir.HalfType(), ir.FloatType()

VNNI, AVX2, PORTABLE = "AVX-512 VNNI", "AVX2", "portable"
"""Instruction sets for products of bytes."""


def vector(kind: Any, count: int) -> Any:
    """The type of a vector of `count` numbers."""
    return ir.VectorType(kind, count)


class Code:
    """The body of a function `name(int64, …) → void`; its arguments are addresses and counts."""

    def __init__(self, name: str, instructions: str, arguments: Sequence[str]) -> None:
        self.instructions = instructions
        self.module = ir.Module(name)
        self.function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [I64] * len(arguments)), name)
        self.function.attributes.add("nounwind")
        self.arguments = dict(zip(arguments, self.function.args, strict=True))
        self.entry = self.function.append_basic_block("entry")
        self.builder = ir.IRBuilder(self.entry)

    def text(self) -> str:
        """The finished function as LLVM's text."""
        self.builder.ret_void()
        return str(self.module)

    # Numbers ---------------------------------------------------------------------------------------------------------

    def integer(self, value: int, kind: Any = I64) -> Any:
        return ir.Constant(kind, value)

    def add(self, a: Any, b: Any) -> Any:
        """a + b; an int is a constant."""
        return self.builder.add(a, self.integer(b)) if isinstance(b, int) else self.builder.add(a, b)

    def times(self, a: Any, b: Any) -> Any:
        return self.builder.mul(a, self.integer(b)) if isinstance(b, int) else self.builder.mul(a, b)

    def filled(self, kind: Any, value: Any) -> Any:
        return ir.Constant(kind, [value] * kind.count)

    def filled_number(self, value: float) -> Any:
        return ir.Constant(F32, value)

    def constant(self, kind: Any, values: Sequence[Any]) -> Any:
        return ir.Constant(kind, list(values))

    # Memory ----------------------------------------------------------------------------------------------------------

    def load(self, kind: Any, address: Any, offset: int = 0) -> Any:
        return self.builder.load(self.builder.inttoptr(self.add(address, offset), kind.as_pointer()), align=1)

    def store(self, value: Any, address: Any, offset: int = 0) -> None:
        where = self.builder.inttoptr(self.add(address, offset), value.type.as_pointer())
        self.builder.store(value, where, align=1)

    def half(self, address: Any, offset: int) -> Any:
        """The float16 there, as float32."""
        return self.builder.fpext(self.load(F16, address, offset), F32)

    def prefetch(self, address: Any, offset: int) -> None:
        where = self.builder.inttoptr(self.add(address, offset), I8.as_pointer())
        self.call("llvm.prefetch.p0", ir.VoidType(), where, *[self.integer(n, I32) for n in (0, 3, 1)])

    def variable(self, value: Any) -> Any:
        """Memory on the stack, which LLVM keeps in a register."""
        with self.builder.goto_block(self.entry):
            place = self.builder.alloca(value.type)
        self.builder.store(value, place)
        return place

    @contextmanager
    def loop(self, count: Any) -> Iterator[Any]:
        """Repeats the block `count` times with its number."""
        head, body, end = (self.function.append_basic_block(name) for name in ("head", "body", "end"))
        before = self.builder.block
        self.builder.branch(head)
        self.builder.position_at_end(head)
        index = self.builder.phi(I64)
        index.add_incoming(self.integer(0), before)
        self.builder.cbranch(self.builder.icmp_signed("<", index, count), body, end)
        self.builder.position_at_end(body)
        yield index
        index.add_incoming(self.add(index, 1), self.builder.block)
        self.builder.branch(head)
        self.builder.position_at_end(end)

    # Vectors ---------------------------------------------------------------------------------------------------------

    def shuffle(self, a: Any, order: Sequence[int], b: Any = None) -> Any:
        kind = ir.VectorType(I32, len(order))
        return self.builder.shuffle_vector(
            a, ir.Constant(a.type, ir.Undefined) if b is None else b, ir.Constant(kind, list(order))
        )

    def joined(self, parts: Sequence[Any]) -> Any:
        """One vector of two or more of equal size."""
        while len(parts) > 1:
            count = parts[0].type.count
            parts = [self.shuffle(a, range(2 * count), b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    def collected(self, numbers: Sequence[Any]) -> Any:
        """A vector of these numbers."""
        kind = vector(numbers[0].type, len(numbers))
        result: Any = ir.Constant(kind, ir.Undefined)
        for n, each in enumerate(numbers):
            result = self.builder.insert_element(result, each, self.integer(n, I32))
        return result

    def splat(self, number: Any, count: int) -> Any:
        empty = ir.Constant(vector(number.type, count), ir.Undefined)
        return self.shuffle(self.builder.insert_element(empty, number, self.integer(0, I32)), [0] * count)

    def spread(self, scales: Any, first: int, lanes: int, repeat: int) -> Any:
        """Lane n is number `first + n // repeat` of `scales`."""
        return self.shuffle(scales, [first + n // repeat for n in range(lanes)])

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.call(f"llvm.fma.v{a.type.count}f32", a.type, a, b, c)

    def sum(self, numbers: Any) -> Any:
        """All lanes of a float32 vector added."""
        count = numbers.type.count
        while count > 1:
            count //= 2
            low, high = (self.shuffle(numbers, range(n, n + count)) for n in (0, count))
            numbers = self.builder.fadd(low, high)
        return self.builder.extract_element(numbers, self.integer(0, I32))

    def call(self, name: str, kind: Any, *arguments: Any) -> Any:
        signature = ir.FunctionType(kind, [each.type for each in arguments])
        function = self.module.globals.get(name) or ir.Function(self.module, signature, name)
        return self.builder.call(function, arguments)

    # Bytes -----------------------------------------------------------------------------------------------------------

    def dot(self, total: Any, weights: Any, x: Any, *, wide: bool) -> Any:
        """`total` (int32 lanes) plus the products of unsigned `weights` and signed `x`, four neighbours to a lane.

        `wide` says whether weights may have 8 bits.
        """
        if self.instructions == VNNI:
            bits = 8 * weights.type.count
            ints = [self.builder.bitcast(each, total.type) for each in (weights, x)]
            return self.call(f"llvm.x86.avx512.vpdpbusd.{bits}", total.type, total, *ints)
        if self.instructions == AVX2:
            return self.builder.add(total, self._by_halves(self._dot_wide if wide else self._dot_avx2, weights, x))
        quads = vector(I32, weights.type.count)
        products = self.builder.mul(self.builder.zext(weights, quads), self.builder.sext(x, quads))
        parts = [self.shuffle(products, range(n, quads.count, 4)) for n in range(4)]
        return self.builder.add(total, self.builder.add(self.builder.add(*parts[:2]), self.builder.add(*parts[2:])))

    def _by_halves(self, function: Callable[..., Any], *vectors: Any) -> Any:
        """Apply a function of 32-byte vectors to larger ones."""
        count = vectors[0].type.count // 32
        pieces = [[self.shuffle(each, range(32 * n, 32 * n + 32)) for each in vectors] for n in range(count)]
        return self.joined([function(*piece) for piece in pieces])

    def _dot_avx2(self, weights: Any, x: Any, factor: int = 1) -> Any:
        """For weights of 7 bits: the sum of two products fits 16 bits. Times a factor."""
        pairs = self.call("llvm.x86.avx2.pmadd.ub.sw", vector(I16, 16), weights, x)
        return self.call("llvm.x86.avx2.pmadd.wd", vector(I32, 8), pairs, self.filled(vector(I16, 16), factor))

    def _dot_wide(self, weights: Any, x: Any) -> Any:
        """For weights of 8 bits: the lower seven, then the highest."""
        shorts = self.builder.lshr(self.builder.bitcast(weights, vector(I16, 16)), self.filled(vector(I16, 16), 7))
        highest = self.builder.and_(self.builder.bitcast(shorts, weights.type), self.filled(weights.type, 1))
        lower = self.builder.and_(weights, self.filled(weights.type, 127))
        return self.builder.add(self._dot_avx2(lower, x), self._dot_avx2(highest, x, 128))

    def lookup(self, table: Sequence[int], numbers: Any) -> Any:
        """The bytes of a table of 16 at `numbers`, each below 16."""
        if self.instructions == PORTABLE:
            result: Any = self.filled(numbers.type, table[0])
            for n, value in enumerate(table[1:], 1):
                found = self.builder.icmp_unsigned("==", numbers, self.filled(numbers.type, n))
                result = self.builder.select(found, self.filled(numbers.type, value), result)
            return result
        name = "llvm.x86.avx2.pshuf.b"

        def half(each: Any) -> Any:
            return self.call(name, each.type, self.constant(each.type, [*table, *table]), each)

        if self.instructions == AVX2 or numbers.type.count == 32:
            return self._by_halves(half, numbers)
        whole = self.constant(numbers.type, [*table] * 4)
        return self.call("llvm.x86.avx512.pshuf.b.512", numbers.type, whole, numbers)

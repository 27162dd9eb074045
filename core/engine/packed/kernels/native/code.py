"""Writes one function in LLVM instructions: addresses, loops, vectors of 64 bytes.

Vectors are as wide as AVX-512's registers; LLVM splits them for processors with narrower ones. Only products of
int16 (`Code.dot`) and the lookup in a table of bytes are written for each instruction set.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F16, F32 = ir.HalfType(), ir.FloatType()

VNNI, AVX2, PORTABLE = "AVX-512 VNNI", "AVX2", "portable"
"""Instruction sets for products of int16."""


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
        """Into the level-2 cache: more lines can be on their way there than to level 1."""
        where = self.builder.inttoptr(self.add(address, offset), I8.as_pointer())
        self.call("llvm.prefetch.p0", ir.VoidType(), where, *[self.integer(n, I32) for n in (0, 2, 1)])

    def variable(self, value: Any) -> Any:
        """Memory on the stack, which LLVM keeps in a register."""
        with self.builder.goto_block(self.entry):
            place = self.builder.alloca(value.type)
        self.builder.store(value, place)
        return place

    def stack(self, size: int) -> Any:
        """The address of `size` bytes on the stack."""
        with self.builder.goto_block(self.entry):
            place = self.builder.alloca(ir.ArrayType(I8, size))
            place.align = 64
            return self.builder.ptrtoint(place, I64)

    def concealed(self, number: Any) -> Any:
        """The same number, of which LLVM does not know that it is the same."""
        return self.builder.asm(ir.FunctionType(I64, [I64]), "", "=r,0", [number], side_effect=False)

    def add_valid(self, numbers: Any, address: Any, valid: Any, more: Any) -> None:
        """Store the `valid` lanes of a float32 vector; with `more` = 1, add them to what is there."""
        kind, count = numbers.type, numbers.type.count
        place = self.builder.inttoptr(address, kind.as_pointer())
        before = self.builder.and_(valid, self.splat(self.builder.trunc(more, I1), count))
        zero, align = self.filled(kind, 0.0), self.integer(4, I32)
        there = self.call(f"llvm.masked.load.v{count}f32.p0", kind, place, align, before, zero)
        total = self.builder.fadd(numbers, there)
        self.call(f"llvm.masked.store.v{count}f32.p0", ir.VoidType(), total, place, align, valid)

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

    def folded(self, numbers: Any, count: int) -> Any:
        """`count` lanes of float32 whose sum is that of all lanes; missing ones are zero."""
        while numbers.type.count > count:
            half = numbers.type.count // 2
            numbers = self.builder.fadd(*[self.shuffle(numbers, range(n, n + half)) for n in (0, half)])
        if numbers.type.count < count:
            zeros = self.filled(numbers.type, 0.0)
            numbers = self.shuffle(numbers, [min(n, numbers.type.count) for n in range(count)], zeros)
        return numbers

    def four_sums(self, vectors: Sequence[Any]) -> Any:
        """The sums of the lanes of four vectors of eight float32."""
        for apart in (1, 2):
            keep = [n if not n & apart else n - apart + 8 for n in range(8)]
            other = [n + apart if not n & apart else n + 8 for n in range(8)]
            vectors = [
                self.builder.fadd(self.shuffle(a, keep, b), self.shuffle(a, other, b))
                for a, b in zip(vectors[::2], vectors[1::2], strict=True)
            ]
        return self.folded(vectors[0], 4)

    def call(self, name: str, kind: Any, *arguments: Any) -> Any:
        signature = ir.FunctionType(kind, [each.type for each in arguments])
        function = self.module.globals.get(name) or ir.Function(self.module, signature, name)
        return self.builder.call(function, arguments)

    # Bytes -----------------------------------------------------------------------------------------------------------

    def shorts(self, quants: Any) -> tuple[Any, Any]:
        """Of unsigned bytes those with even numbers, and those with odd ones, as int16."""
        pairs = vector(I16, quants.type.count // 2)
        both = self.builder.bitcast(quants, pairs)
        return self.builder.and_(both, self.filled(pairs, 255)), self.builder.lshr(both, self.filled(pairs, 8))

    def dot(self, total: Any, a: Any, b: Any) -> Any:
        """`total` (int32 lanes) plus the products of int16, two neighbours to a lane."""
        build, count = self.builder, a.type.count
        if self.instructions == VNNI:
            ints = [build.bitcast(each, total.type) for each in (a, b)]
            return self.call(f"llvm.x86.avx512.vpdpwssd.{16 * count}", total.type, total, *ints)
        if self.instructions == AVX2:
            halves = [[self.shuffle(each, range(n, n + 16)) for each in (a, b)] for n in range(0, count, 16)]
            products = [self.call("llvm.x86.avx2.pmadd.wd", vector(I32, 8), *half) for half in halves]
            return build.add(total, self.joined(products))
        return self._added(total, a, b, [range(odd, count, 2) for odd in (0, 1)])

    def dot_eights(self, total: Any, a: Any, b: Any) -> Any:
        """As `dot`, but of eight neighbours any two go to each of their four lanes: those that are quickest."""
        if self.instructions != PORTABLE:
            return self.dot(total, a, b)
        firsts = [n for n in range(a.type.count) if n % 8 < 4]
        return self._added(total, a, b, [firsts, [n + 4 for n in firsts]])

    def _added(self, total: Any, a: Any, b: Any, parts: Sequence[Sequence[int]]) -> Any:
        """`total` plus the products of these numbers of two vectors (NEON multiplies and adds in one instruction)."""
        for part in parts:
            factors = [self.builder.sext(self.shuffle(each, part), total.type) for each in (a, b)]
            total = self.builder.add(total, self.builder.mul(*factors))
        return total

    def dot_bytes(self, total: Any, unsigned: Any, signed: Any) -> Any:
        """`total` (int32 lanes) plus the products of bytes, four neighbours to a lane. Only for VNNI."""
        build, count = self.builder, unsigned.type.count
        ints = [build.bitcast(each, total.type) for each in (unsigned, signed)]
        return self.call(f"llvm.x86.avx512.vpdpbusd.{8 * count}", total.type, total, *ints)

    def _by_halves(self, function: Callable[..., Any], *vectors: Any) -> Any:
        """Apply a function of 32-byte vectors to larger ones."""
        count = vectors[0].type.count // 32
        pieces = [[self.shuffle(each, range(32 * n, 32 * n + 32)) for each in vectors] for n in range(count)]
        return self.joined([function(*piece) for piece in pieces])

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

"""Products with GGUF's blocks: every format, by each instruction set of this processor, against float64."""

import ctypes
import itertools
import os
import time
from collections.abc import Iterator
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf_blocks import SCALES, numbers, random_blocks
from torch import Tensor

from core.engine.packed import compiled
from core.engine.packed.compiled import PLAIN, Matrix, Product
from core.engine.packed.kernels import cache_problems, objects
from core.engine.packed.kernels.native import machine, tiles
from core.engine.packed.kernels.native.formats import FORMATS
from core.formats.gguf import TENSOR_TYPES
from core.loading.weights.packing import BLOCKS

PATHS = machine.instruction_sets()
EXACT = 2.0**-14
"""Half a step of 15 bits, relative to the largest activation of a group, with some room for sums in float32."""


def columns_of(name: str) -> tuple[int, ...]:
    """Whole chunks of 256, where the format allows other multiples of 32, and more than tiles have at once."""
    return (32, 96, 256, 2144) if FORMATS[name].numbers == 32 else (256, 2304)


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_table_of_formats_is_that_of_gguf() -> None:
    sizes = {name: (numbers, size) for name, numbers, size in TENSOR_TYPES.values()}
    for known in FORMATS.values():
        assert (known.numbers, known.size) == sizes[known.name]
        assert (known.numbers, known.size) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[known.name]]
    assert set(FORMATS) == BLOCKS == set(SCALES)


@pytest.mark.parametrize("instructions", PATHS)
@pytest.mark.parametrize("name", FORMATS)
def test_products_equal_float64(name: str, instructions: str) -> None:
    """Of one vector, of few and of many, with rows that are no multiple of a tile, in the rounding of the vectors."""
    for columns, rows in zip(columns_of(name), itertools.cycle((37, 16, 3, 1))):
        blocks = random_blocks(name, rows, columns)
        weights = numbers(name, blocks)
        product = Product([Matrix(name, (rows, columns), blocks)], instructions)
        for count in (1, 2, 3, 11):
            x = random(count, columns)
            allowed = EXACT * x.double().abs() @ weights.abs().T
            assert ((product(x) - x.double() @ weights.T).abs() <= allowed + 1e-6 * allowed.max()).all()


@pytest.mark.parametrize("instructions", PATHS)
@pytest.mark.parametrize("byte", [0, 127, 128, 255])
@pytest.mark.parametrize("name", FORMATS)
def test_extreme_blocks_and_activations_do_not_overflow(name: str, byte: int, instructions: str) -> None:
    """All bits of the weights set, or none, with activations that are all the largest, or the smallest."""
    blocks = random_blocks(name, 16, 256, byte=byte)
    weights, product = numbers(name, blocks), Product([Matrix(name, (16, 256), blocks)], instructions)
    largest = torch.maximum(weights.abs(), numbers(name, random_blocks(name, 16, 256, byte=127)).abs())
    ones = torch.ones(8, 256)
    for x in (ones, -ones, ones * torch.tensor([1.0, -1.0]).repeat(128)):
        for count in (1, 8):
            expected = x[:count].double() @ weights.T
            assert (product(x[:count]) - expected).abs().max() <= 1e-5 * largest.sum(1).max()


@pytest.mark.parametrize("name", FORMATS)
def test_every_instruction_set_computes_the_same(name: str) -> None:
    """The integers are equal; sums in float32 differ by their order."""
    blocks, x = random_blocks(name, 19, 512), random(9, 512)
    products = [Product([Matrix(name, (19, 512), blocks)], each) for each in PATHS]
    for count in (1, 9):
        first, *others = (product(x[:count]) for product in products)
        for other in others:
            assert (first - other).abs().max() < 2e-6 * first.abs().max()


@pytest.mark.parametrize("instructions", PATHS)
@pytest.mark.parametrize("name", PLAIN)
def test_plain_numbers_are_multiplied_as_they_are(name: str, instructions: str) -> None:
    """In float32, of any number of columns and rows, one vector, few and many; also more than tiles have at once."""
    for columns, rows in ((1, 7), (16, 16), (33, 37), (100, 1), (1111, 150)):
        weights = random(rows, columns).to(PLAIN[name])
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(2)) if rows == 37 else None
        product = Product([Matrix(name, (rows, columns), weights.view(torch.uint8), order)], instructions)
        whole = weights.double() if order is None else weights.double()[order]
        for count in (1, 3, 8, 20):
            x = random(count, columns)
            allowed = 1e-6 * (x.double().abs() @ whole.abs().T).max()
            assert (product(x) - x.double() @ whole.T).abs().max() < allowed


def test_a_map_of_several_matrices_with_rows_in_other_orders() -> None:
    """As queries, keys and values of a mixed file: one after the other, each in its own format and order."""
    parts, expected = [], []
    for n, name in enumerate(("Q4_K", "Q6_K", "Q8_0", "F16")):
        rows = 20 + n
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(n))
        blocks = random(rows, 256).half().view(torch.uint8) if name in PLAIN else random_blocks(name, rows, 256, n)
        parts.append(Matrix(name, (rows, 256), blocks, order if n != 1 else None))
        expected.append(numbers(name, blocks)[order] if n != 1 else numbers(name, blocks))
    whole, product = torch.cat(expected), Product(parts)
    for count in (1, 5, 9):
        x = random(count, 256)
        wanted = x.double() @ whole.T
        assert (product(x) - wanted).abs().max() < EXACT * (x.double().abs() @ whole.abs().T).max()
    for part, each in zip(parts, expected, strict=True):
        assert torch.equal(part.dequantize(3, 9).double(), each[3:9])


@pytest.mark.parametrize("instructions", PATHS)
@pytest.mark.parametrize("name", FORMATS)
def test_rows_in_another_order_have_the_same_products(name: str, instructions: str) -> None:
    """Bit by bit: they have code of their own, which only prefetches elsewhere."""
    blocks, x = random_blocks(name, 70, 512), random(2, 512)
    order = torch.arange(70).view(2, 35).T.flatten()
    plain, ordered = (Product([Matrix(name, (70, 512), blocks, each)], instructions) for each in (None, order))
    assert torch.equal(ordered(x), plain(x)[:, order])


@pytest.mark.parametrize("name", FORMATS)
def test_unpacked_rows_are_those_of_the_gguf_package(name: str) -> None:
    """scale · q + minimum, the form in which the embedding is computed; q is 0 … 255."""
    blocks = random_blocks(name, 1, 512)
    known, code = FORMATS[name], machine.kernels(name, machine.best())
    quants, count = np.zeros(512, np.uint8), 512 // known.group
    scales, minimums = np.zeros(count, np.float32), np.zeros(count, np.float32)
    call(code.unpack, blocks.data_ptr(), 16, *(each.ctypes.data for each in (quants, scales, minimums)))
    found = scales.repeat(known.group) * quants + minimums.repeat(known.group)
    expected = numbers(name, blocks)[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("instructions", PATHS)
@pytest.mark.parametrize("name", FORMATS)
def test_expanded_rows_are_those_of_the_gguf_package(name: str, instructions: str) -> None:
    """scale · integer + minimum, the form in which tiles are computed; the integers are at most 2 ** 12."""
    columns = 512 if FORMATS[name].numbers == 256 else 544
    blocks, groups, known = random_blocks(name, 1, columns), columns // 32, machine.kernels(name, instructions)
    words, scales = np.zeros((groups, 2, 16), np.int16), np.zeros((groups, 1), np.float32)
    minimums = np.zeros((groups, known.minimums), np.float32)
    call(known.expand, blocks.data_ptr(), groups, *(each.ctypes.data for each in (words, scales, minimums)))
    added = minimums.repeat(32 // max(known.minimums, 1), 1) if known.minimums else 0
    found = scales * words.swapaxes(1, 2).reshape(groups, 32) + added
    expected = numbers(name, blocks)[0].numpy()
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    assert np.abs(words.astype(int)).max() <= 2**12


def call(address: int, *arguments: int) -> None:
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(arguments))(address)(*arguments)


@pytest.mark.parametrize("instructions", PATHS)
def test_tiles_are_transposed_words(instructions: str) -> None:
    words = np.arange(16 * 32, dtype=np.int32).reshape(16, 32)
    result = np.zeros((32, 16), np.int32)
    call(machine.transpose(instructions), words.ctypes.data, 128, 20, result.ctypes.data)
    np.testing.assert_array_equal(result, words.T)


@pytest.mark.parametrize("instructions", PATHS)
def test_activations_are_rounded_to_15_bits(instructions: str) -> None:
    """Within half a step of the largest of their group; the sums are those of the rounded numbers; zeros stay zero."""
    for x in (random(3, 32)[0].repeat(3), torch.zeros(96), torch.cat((1e30 * random(64), 1e-30 * random(32)))):
        for near in (4, 4 * tiles.VECTORS):
            rounded, sums, sums16 = quantized(x, near, instructions)
            steps = x.view(3, 32).abs().amax(1, keepdim=True).double() / tiles.LARGEST
            assert ((rounded - x.view(3, 32)).abs() <= 0.501 * steps).all()
            for found, group in ((sums, 32), (sums16, 16)):
                expected = rounded.view(-1, group).sum(1)
                assert torch.allclose(found.double(), expected, rtol=1e-5, atol=float(1e-4 * steps.max()))


@pytest.mark.parametrize("instructions", PATHS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_activations_that_are_not_finite_stay_so(bad: float, instructions: str) -> None:
    """The products of their vector are NaN, those of other vectors are as before."""
    product = Product([Matrix("Q4_K", (5, 256), random_blocks("Q4_K", 5, 256))], instructions)
    for count in (1, 5, 9):
        x = random(count, 256)
        expected = product(x)
        x[-1, 77] = bad
        result = product(x)
        assert result[-1].isnan().all()
        assert torch.equal(result[:-1], expected[:-1])


def quantized(x: Tensor, near: int, instructions: str) -> tuple[Tensor, Tensor, Tensor]:
    """The rounded numbers [groups, 32] in float64, and their sums by 32 and by 16."""
    groups, apart = len(x) // 32, near // 4
    first, second = (torch.zeros(groups * 8, apart, 2, dtype=torch.int16) for _ in range(2))
    scales, sums, sums16 = (torch.zeros(n, apart) for n in (groups, groups, 2 * groups))
    given = (each.data_ptr() for each in (first, second, scales, sums, sums16))
    call(machine.quantize(instructions, tiled=apart > 1), x.data_ptr(), groups, near, *given)
    for each in (first, second, scales, sums, sums16):
        assert not each[:, 1:].any()
    if apart == 1 and instructions == machine.VNNI:
        values = 256 * first.view(torch.int8).double() + second.view(torch.int8).double()
    else:
        values = torch.stack((first[:, 0].double(), second[:, 0].double()), -1)
    return values.view(groups, 32) * scales[:, :1].double(), sums[:, 0], sums16[:, 0]


# The code on disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A folder of its own for machine code, and nothing known of what other tests compiled."""
    monkeypatch.setattr(objects, "folder", lambda: tmp_path / "code")
    monkeypatch.setattr(cache_problems, "problems", [])
    yield tmp_path / "code"


def test_machine_code_is_kept_and_a_damaged_file_is_replaced(fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[int] = []

    def make() -> objects.Source:
        texts.append(1)
        return objects.Source(tiles.transpose(machine.PORTABLE))

    first = objects.machine_code("a_test", make)
    assert objects.machine_code("a_test", make) == first
    assert len(texts) == 1
    (path,) = fresh.iterdir()
    for damage in (path.read_bytes()[:-9], b"", path.read_bytes()[:40] + b"x" + path.read_bytes()[41:]):
        path.write_bytes(damage)
        assert objects.machine_code("a_test", make) == first
        assert path.read_bytes()[32:] == first
    assert len(texts) == 4
    assert len(cache_problems.problems) == 3
    assert "damaged: compiled again" in cache_problems.problems[0]
    for name, days in (("lately", 29), ("long_ago", 31)):
        path.with_name(f"a_test.{name}.o").write_bytes(b"of another version")
        os.utime(path.with_name(f"a_test.{name}.o"), (time.time() - days * 24 * 3600,) * 2)
    monkeypatch.setattr(objects, "_stamp", lambda: "new")
    objects.machine_code("a_test", make)
    assert {each.name for each in fresh.iterdir()} == {path.name, "a_test.lately.o", "a_test.new.o"}


def test_machine_code_is_compiled_where_nothing_can_be_written(fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is kept for `bench`."""
    fresh.write_text("a file in place of the folder")
    assert objects.machine_code("a_test", lambda: objects.Source(tiles.transpose(machine.PORTABLE)))
    (problem,) = cache_problems.problems
    assert problem.startswith(f"compiled code cannot be kept in {fresh}")


def test_the_reason_why_nothing_can_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "FEATURES", {})
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
    with pytest.raises(RuntimeError, match="F16C"):
        machine.instruction_sets()
    monkeypatch.setattr(machine.platform, "machine", lambda: "arm64")
    assert machine.instruction_sets() == ("portable",)
    assert compiled.available()

"""The compiled functions one by one: products by each path, quantized activations, threads, and the cache on disk."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from torch import Tensor

from core.engine.packed import compiled, quantize
from core.engine.packed.compiled import Matrix, Product
from core.engine.packed.kernels import avx2, disk_cache, portable, scheduler
from core.engine.packed.kernels.activations import quantize as quantize_activations
from core.engine.packed.kernels.descriptors import BLOCK, GROUP, TASK, groups_of
from core.engine.packed.kernels.elementwise import exp
from core.engine.packed.kernels.emit import AVX2
from core.engine.packed.linear import Int4Linear, Int8Linear

PATHS = [pytest.param(avx2, marks=pytest.mark.skipif(not AVX2, reason="this processor has no AVX2")), portable]
SHAPES = [(32, 32), (33, 32), (64, 96), (83, 40), (1, 1), (7, 172), (128, 1536)]
"""[rows, columns]: multiples of the 32 that lie together, and none."""


def random(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


# Products ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use_avx2", [pytest.param(True, marks=PATHS[0].marks), False])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_of_any_size(shape: tuple[int, int], bits: int, biased: bool, use_avx2: bool) -> None:
    """Of one state and of several, within the 15 bits of the activations; a zero state gives the bias alone."""
    rows, columns = shape
    bias = torch.arange(rows).bfloat16() if biased else None
    make, weights = (Int8Linear, quantize.int8) if bits == 8 else (Int4Linear, quantize.int4)
    linear = make(*weights(random(*shape)), bias)
    product = Product(linear.matrix())
    product._task["avx2"] = use_avx2
    added = torch.zeros(rows) if bias is None else bias.float()
    for count in (1, 11):
        x = random(count, columns, 1)
        expected = x @ linear.dequantize().T + added
        assert (product(x) - expected).abs().max() < 1e-4 * expected.abs().max()
        assert torch.equal(product(0 * x), added.expand(count, rows))


def quantized(x: Tensor) -> tuple[np.ndarray, Tensor]:
    """A task whose field `x` describes the quantized numbers of `x`, and their memory."""
    task = np.zeros(1, TASK)
    space = compiled.activations(task, "x", groups_of(len(x)))
    _quantize(x.data_ptr(), len(x), task)
    return task, space


@njit
def _quantize(x, count, tasks):  # type: ignore[no-untyped-def]
    quantize_activations(x, count, tasks[0].x, 0)


@njit
def _int8_rows(rows, address, tasks, groups, result):  # type: ignore[no-untyped-def]
    for row in range(0, len(result), 4):
        for n, each in enumerate(rows(address + row * groups * 32, groups * 32, tasks[0].x, 0, groups)):
            result[row + n] = each


@njit
def _int4_block(block, weights, scales, tasks, groups, out):  # type: ignore[no-untyped-def]
    block(weights, scales, tasks[0].x, 0, groups, out)


@pytest.mark.parametrize("path", PATHS)
def test_int8_rows_equal_an_exact_product(path: Any) -> None:
    """Of the quantized activations: the integers are the same, float32 sums differ by their order."""
    weights, _ = quantize.int8(random(32, 576))
    (task, space), result = quantized(random(1, 576, 1)[0]), np.empty(32, np.float32)
    _int8_rows(path.int8_rows, weights.data_ptr(), task, 18, result)
    expected = weights.double() @ activations(task, space, 576)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5 * expected.abs().max())


@pytest.mark.parametrize("path", PATHS)
def test_an_int4_block_equals_an_exact_product(path: Any) -> None:
    """Also at the largest sums that 16 bits must hold: all weights 15, all activations the largest."""
    ones = torch.ones(32, 96)
    for weight, x in ((random(32, 96), random(1, 96, 1)[0]), (ones, ones[0]), (-ones, -ones[0])):
        q, scales, zero_points = quantize.int4(weight)
        q = torch.full_like(q, 15) if weight.std() == 0 else q
        packed, pairs = quantize.pack_int4(q), quantize.pack_scales(scales, zero_points)
        (task, space), result = quantized(x), np.zeros(32, np.float32)
        _int4_block(path.int4_block, packed.data_ptr(), pairs.data_ptr(), task, 3, result.ctypes.data)
        expected = quantize.dequantize_int4(q, scales, zero_points).double() @ activations(task, space, 96)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5 * expected.abs().max())


def activations(task: Any, space: Tensor, count: int) -> Tensor:
    """What quantized activations stand for, [count], float64."""
    groups = groups_of(count)
    values = stored(task, space, "values", torch.int16, groups * GROUP).view(groups, GROUP)
    scales = stored(task, space, "scales", torch.float32, groups)
    return (values.double() * scales.double()[:, None]).flatten()[:count]


def stored(task: Any, space: Tensor, field: str, dtype: torch.dtype, count: int) -> Tensor:
    """The numbers at an address of the `ACTIVATIONS` of a task."""
    start = int(task[0]["x"][field]) - space.data_ptr()
    return space[start : start + count * dtype.itemsize].view(dtype)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 96])
def test_activations_are_rounded_to_15_bits(count: int) -> None:
    """Within half a step of the largest of their group; the sums are those of the rounded values."""
    x, groups = random(1, count)[0], groups_of(count)
    task, space = quantized(x)
    padded = torch.cat((x, torch.zeros(groups * GROUP - count))).view(groups, GROUP)
    steps = (padded.abs().amax(1) / 16256).repeat_interleave(GROUP)[:count]
    assert ((activations(task, space, count) - x).abs() <= 0.501 * steps).all()
    values = stored(task, space, "values", torch.int16, groups * GROUP).view(groups, GROUP)
    sums, scales = values.int().sum(1), stored(task, space, "scales", torch.float32, groups)
    assert torch.equal(stored(task, space, "offsets", torch.int32, groups).long(), 8 * sums)
    assert torch.equal(stored(task, space, "scaled_sums", torch.float32, groups), sums * scales)


def test_exp_is_accurate() -> None:
    """Over the range of softmax and sigmoid."""

    @njit
    def all_exp(x):  # type: ignore[no-untyped-def]
        for n in range(len(x)):
            x[n] = exp(x[n])

    x = np.linspace(-87, 88, 100_001, dtype=np.float32)
    result = x.copy()
    all_exp(result)
    np.testing.assert_allclose(result, np.exp(x.astype(np.float64)), rtol=3e-7)


# Threads -------------------------------------------------------------------------------------------------------------


def work(threads: int) -> tuple[tuple[Any, ...], Tensor, tuple[Any, ...]]:
    """The arguments of a step that is one product, its outputs, and what must stay alive until then."""
    weights, scales = quantize.int8(random(640, 64))
    matrix, ones, outputs = Matrix(8, 640, 64, weights, scales, None), torch.ones(64), torch.empty(640)
    task = np.zeros(1, TASK)
    space = compiled.activations(task, "x", 2)
    fields = {"threads": threads, "states": 1, "state": ones.data_ptr(), "logits": outputs.data_ptr()}
    for name, value in (fields | {"head": matrix.descriptor, "avx2": AVX2}).items():
        task[name] = value
    return (compiled.new_progress(), task, np.zeros(0, BLOCK)), outputs, (matrix, ones, space)


def test_the_leader_does_all_the_work_when_no_helper_comes() -> None:
    """One of eight threads."""
    arguments, outputs, (matrix, *_) = work(8)
    scheduler.step(True, *arguments)
    expected = matrix.weights.sum(1) * matrix.scales.float()
    assert torch.allclose(outputs, expected, rtol=1e-4, atol=1e-3)


def test_a_helper_that_comes_too_early_or_too_late_returns() -> None:
    """It does nothing and does not wait for long."""
    arguments, outputs, _alive = work(2)
    outputs[:] = 5
    began = time.perf_counter()
    scheduler.step(False, *arguments)
    assert (outputs == 5).all()
    scheduler.step(True, *arguments)
    scheduler.step(False, *arguments)
    assert time.perf_counter() - began < 5


def test_helpers_back_off_after_they_delayed_the_leader() -> None:
    """Briefly at first, longer each time, and briefly again after calls without delay."""
    helpers = compiled._Helpers()
    assert len(helpers.queues(2)) == 2
    for _ in range(9):
        helpers.report(delayed=True)
        assert not helpers.queues(2)
    assert helpers._pause == compiled.LONGEST_PAUSE
    for _ in range(30):
        helpers.report(delayed=False)
    assert helpers._pause == compiled.SHORTEST_PAUSE


# The cache on disk ---------------------------------------------------------------------------------------------------

SMALL = """
from numba import njit
from core.engine.packed.kernels import disk_cache

@njit
def double(x):
    return 2 * x

disk_cache.enable(double)
print(double(21), sum(double.stats.cache_hits.values()) if double.stats.cache_path else None)
"""


def run_small(folder: Path, **environment: str) -> list[str]:
    """What a fresh process prints that compiles a small function, with the cache in `folder`."""
    script = folder / "small.py"
    if not script.exists():
        script.write_text(SMALL)
    command = [sys.executable, str(script)]
    paths = {"PYTHONPATH": str(Path(compiled.__file__).parents[3]), "NUMBA_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(command, env=paths | environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_compiled_code_is_read_from_disk_and_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    assert run_small(tmp_path) == ["42", "0"]
    assert run_small(tmp_path) == ["42", "1"]
    for pattern in ("*.nbi", "*.nbc"):
        (path,) = (tmp_path / "cache").rglob(pattern)
        path.write_bytes(path.read_bytes()[:20])
        assert run_small(tmp_path) == ["42", "0"]
        assert run_small(tmp_path) == ["42", "1"]


@pytest.mark.parametrize("broken", ["__init__", "save"])
def test_compiled_code_runs_where_no_cache_can_be_written(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder can be written to, or the disk is full."""

    def fail(*_: object) -> None:
        raise RuntimeError("no locator available") if broken == "__init__" else OSError("no space left on device")

    monkeypatch.setattr(FunctionCache if broken == "__init__" else IndexDataCacheFile, broken, fail)

    @njit
    def triple(x):  # type: ignore[no-untyped-def]
        return 3 * x

    disk_cache.enable(triple)
    assert triple(14) == 42


def test_any_source_of_the_kernels_outdates_the_cache() -> None:
    """Their digest is the stamp of the cache of the compiled step."""
    assert scheduler.step._cache._cache_file._source_stamp == disk_cache._digest()

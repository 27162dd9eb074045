"""The compiled step: its exponential, its threads, and its cache on disk."""

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

from core.engine.packed import compiled
from core.engine.packed.compiled import Matrix
from core.engine.packed.kernels import disk_cache, scheduler
from core.engine.packed.kernels.descriptors import IDENTITY, LINEAR, MATRIX, PRODUCT, STAGE, STATES, TASK
from core.engine.packed.kernels.elementwise import exp
from core.engine.packed.quantize import q8_0


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


def work(threads: int) -> tuple[tuple[Any, ...], Tensor, Matrix, tuple[Any, ...]]:
    """The arguments of a step that is one product, its outputs, its matrix, and what must stay alive until then."""
    generator = torch.Generator().manual_seed(0)
    matrix = Matrix("Q8_0", (640, 64), q8_0(torch.randn(640, 64, generator=generator)))
    ones, outputs = torch.ones(64), torch.empty(640)
    task, stages = np.zeros(1, TASK), np.zeros(2, STAGE)
    space = compiled.activations(stages, "x", 2)
    task["threads"], task["states"] = threads, 1
    task["quantize"] = compiled.kernels().quantize(compiled.instructions())
    fields = {"kind": (STATES, PRODUCT), "units": (1, 20), "source": ones.data_ptr(), "target": outputs.data_ptr()}
    for name, value in (fields | {"count": 64, "vectors": 1, "halves": 1, "rows": 640, "activation": IDENTITY}).items():
        stages[name] = value
    linears, matrices = np.array([(0, 1, 640, 64, 0)], LINEAR), np.array([matrix.descriptor()], MATRIX)
    return (compiled.new_progress(), task, stages, linears, matrices), outputs, matrix, (ones, space)


def test_the_leader_does_all_the_work_when_no_helper_comes() -> None:
    """One of eight threads."""
    arguments, outputs, matrix, _alive = work(8)
    scheduler.step(0, *arguments)
    assert torch.allclose(outputs, matrix.dequantize().sum(1), rtol=1e-4, atol=1e-3)


def test_a_helper_that_comes_too_early_or_too_late_returns() -> None:
    """It does nothing and does not wait for long."""
    arguments, outputs, *_alive = work(2)
    outputs[:] = 5
    began = time.perf_counter()
    scheduler.step(1, *arguments)
    assert (outputs == 5).all()
    scheduler.step(0, *arguments)
    scheduler.step(1, *arguments)
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
    assert scheduler.step._cache._cache_file._source_stamp == disk_cache.digest()

"""The compiled step: its exponential, its threads, and its code on disk."""

import os
import subprocess
import sys
import time
from ctypes import CFUNCTYPE, c_int64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit
from torch import Tensor

from core.engine.packed import compiled
from core.engine.packed.compiled import Matrix
from core.engine.packed.kernels import objects
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


def work(threads: int) -> tuple[tuple[int, ...], Tensor, Matrix, tuple[Any, ...]]:
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
    arrays = (compiled.new_progress(), task, stages, linears, matrices)
    return compiled.addresses(*arrays), outputs, matrix, (*arrays, ones, space)


def test_the_leader_does_all_the_work_when_no_helper_comes() -> None:
    """One of eight threads."""
    arguments, outputs, matrix, _alive = work(8)
    compiled.step(0, arguments)
    assert torch.allclose(outputs, matrix.dequantize().sum(1), rtol=1e-4, atol=1e-3)


def test_a_helper_that_comes_too_early_or_too_late_returns() -> None:
    """It does nothing and does not wait for long."""
    arguments, outputs, *_alive = work(2)
    outputs[:] = 5
    began = time.perf_counter()
    compiled.step(1, arguments)
    assert (outputs == 5).all()
    compiled.step(0, arguments)
    compiled.step(1, arguments)
    assert time.perf_counter() - began < 5


def test_helpers_back_off_where_other_work_takes_the_cores() -> None:
    """Briefly at first, longer each time, and briefly again after calls that had the cores to themselves."""
    helpers = compiled._Helpers()
    assert len(helpers.queues(2)) == 2
    for lost in (0.0, 0.0, 0.02):  # a fifth of all
        helpers.report(0.033, lost)
        assert helpers.queues(2)
    for _ in range(9):
        helpers.report(1, lost=0.5)
        assert not helpers.queues(2)
    assert helpers._pause == compiled.LONGEST_PAUSE
    for _ in range(30):
        helpers.report(0.003, lost=0.0)
    assert helpers._pause == compiled.SHORTEST_PAUSE


# The code on disk ----------------------------------------------------------------------------------------------------

IMPORTED = """
import sys
from core.engine.packed import compiled
print(compiled.problem(), "numba" in sys.modules)
"""


def test_a_process_that_finds_compiled_code_on_disk_does_not_import_numba() -> None:
    """The import and what numba prepares take longer than loading the code."""
    assert compiled.available()  # so it is on disk now
    paths = {"PYTHONPATH": str(Path(compiled.__file__).parents[3])}
    command = [sys.executable, "-c", IMPORTED]
    done = subprocess.run(command, env={**os.environ, **paths}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False"]


def test_what_is_not_on_disk_must_be_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled.available()
    assert not compiled.compiles()
    monkeypatch.setattr(objects, "folder", lambda: tmp_path)
    assert compiled.compiles()


def test_of_a_text_with_several_functions_what_is_called_is_kept() -> None:
    """numba's text of the step has functions that need numba; they are left out."""
    text = """
    declare void @absent()
    define i64 @helper(i64 %x) { %y = mul i64 %x, 3
        ret i64 %y }
    define i64 @triple(i64 %x) { %y = call i64 @helper(i64 %x)
        ret i64 %y }
    define void @other() { call void @absent()
        ret void }
    """
    address = objects.address("a_test_of_several_functions", lambda: objects.Source(text, "triple"))
    assert CFUNCTYPE(c_int64, c_int64)(address)(14) == 42

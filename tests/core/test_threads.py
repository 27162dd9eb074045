"""The CPU thread policy: what a person said wins, small models take one thread, a screen keeps a core."""

import os
import sys
from collections.abc import Iterator

import pytest
import torch

from core.engine import threads

LARGE = 10 * threads.SMALL


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Eight cores, and nothing said in the environment."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    return monkeypatch


@pytest.mark.parametrize("beside_screen", [True, False])
def test_small_models_take_one_thread(cores: pytest.MonkeyPatch, beside_screen: bool) -> None:
    """Several would wait for each other more than they compute."""
    for parameters in (0, 1, 12_935_733, threads.SMALL - 1):  # the article's Model 1 among them
        assert threads.count(parameters, beside_screen=beside_screen) == 1


def test_large_models_take_the_cores_that_the_screen_leaves(cores: pytest.MonkeyPatch) -> None:
    """All of them headless, all but one beside a screen."""
    for parameters in (threads.SMALL, 124_439_808):
        assert threads.count(parameters, beside_screen=False) == 8
        assert threads.count(parameters, beside_screen=True) == 7


@pytest.mark.parametrize("beside_screen", [True, False])
def test_there_is_always_one_thread(cores: pytest.MonkeyPatch, beside_screen: bool) -> None:
    """On a single core, and where the number of cores is unknown."""
    cores.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert threads.count(LARGE, beside_screen=beside_screen) == 1
    cores.delattr(os, "sched_getaffinity")
    cores.setattr(os, "cpu_count", lambda: None)
    assert threads.count(LARGE, beside_screen=beside_screen) == 1


def test_only_cores_that_may_be_used_count(cores: pytest.MonkeyPatch) -> None:
    """A container or taskset that leaves three of eight cores means three."""
    cores.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    assert threads.count(LARGE, beside_screen=False) == 3


@pytest.mark.parametrize(("said", "threads_wanted"), [("1", 1), ("3", 3), ("64", 64), ("4,2", 4)])
def test_omp_num_threads_wins(cores: pytest.MonkeyPatch, said: str, threads_wanted: int) -> None:
    """For small and large models, with and without a screen; of a list, OpenMP's first level counts."""
    cores.setenv("OMP_NUM_THREADS", said)
    for parameters in (0, LARGE):
        for beside_screen in (True, False):
            assert threads.count(parameters, beside_screen=beside_screen) == threads_wanted


@pytest.mark.parametrize("said", ["", "0", "-2", "many", "1.5", ",4", "²"])
def test_a_senseless_omp_num_threads_is_not_heeded(cores: pytest.MonkeyPatch, said: str) -> None:
    """Neither followed nor fallen over."""
    cores.setenv("OMP_NUM_THREADS", said)
    assert threads.count(0, beside_screen=False) == 1
    assert threads.count(LARGE, beside_screen=False) == 8


@pytest.fixture
def interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("interval")
def test_prepare_makes_waiting_threads_passive(monkeypatch: pytest.MonkeyPatch) -> None:
    """OMP_WAIT_POLICY is set where nobody set it, and a waiting thread gets the interpreter within a millisecond."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "x")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    sys.setswitchinterval(0.005)
    threads.prepare()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert sys.getswitchinterval() <= 0.001


@pytest.mark.usefixtures("interval")
def test_without_a_screen_threads_may_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    """No screen waits for a core then, and waking up passive threads costs more than it saves."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "x")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    threads.prepare(beside_screen=False)
    assert "OMP_WAIT_POLICY" not in os.environ


@pytest.mark.usefixtures("interval")
@pytest.mark.parametrize("said", ["ACTIVE", "passive", ""])
def test_prepare_leaves_what_a_person_set(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """The environment's own OMP_WAIT_POLICY stays, whatever it says."""
    monkeypatch.setenv("OMP_WAIT_POLICY", said)
    threads.prepare()
    assert os.environ["OMP_WAIT_POLICY"] == said


def test_apply_binds_the_thread_that_calls(cores: pytest.MonkeyPatch) -> None:
    """Torch computes with the number that the policy says."""
    before = torch.get_num_threads()
    try:
        cores.setenv("OMP_NUM_THREADS", "2")
        assert threads.apply(0, beside_screen=True) == 2
        assert torch.get_num_threads() == 2
        cores.delenv("OMP_NUM_THREADS")
        assert threads.apply(0, beside_screen=True) == 1
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_alone_is_for_a_block() -> None:
    """Whatever happens in it."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with pytest.raises(ZeroDivisionError), threads.single_thread():
            assert torch.get_num_threads() == 1
            1 / 0  # noqa: B018
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)

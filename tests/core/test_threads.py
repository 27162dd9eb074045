"""The CPU thread policy: the environment wins, small models use one thread, a screen gets a core."""

import os
import sys
from collections.abc import Iterator

import pytest
import torch

from core.engine import threads

LARGE = 10 * threads.SMALL


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Eight cores, and no OMP_NUM_THREADS."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads.cores, "usable", lambda: 8)
    return monkeypatch


@pytest.mark.parametrize("beside_screen", [True, False])
def test_small_models_use_one_thread(cores: pytest.MonkeyPatch, beside_screen: bool) -> None:
    """Up to the limit SMALL."""
    for parameters in (0, 1, 12_935_733, threads.SMALL - 1):  # the article's Model 1 among them
        assert threads.count(parameters, beside_screen=beside_screen) == 1


def test_large_models_use_all_cores_or_one_fewer_beside_a_screen(cores: pytest.MonkeyPatch) -> None:
    """Of eight cores."""
    for parameters in (threads.SMALL, 124_439_808):
        assert threads.count(parameters, beside_screen=False) == 8
        assert threads.count(parameters, beside_screen=True) == 7


@pytest.mark.parametrize("beside_screen", [True, False])
def test_there_is_at_least_one_thread(cores: pytest.MonkeyPatch, beside_screen: bool) -> None:
    """On a single core."""
    cores.setattr(threads.cores, "usable", lambda: 1)
    assert threads.count(LARGE, beside_screen=beside_screen) == 1


@pytest.mark.parametrize(("value", "threads_wanted"), [("1", 1), ("3", 3), ("64", 64), ("4,2", 4)])
def test_omp_num_threads_wins(cores: pytest.MonkeyPatch, value: str, threads_wanted: int) -> None:
    """For small and large models, with and without a screen; of a list, OpenMP's first level counts."""
    cores.setenv("OMP_NUM_THREADS", value)
    for parameters in (0, LARGE):
        for beside_screen in (True, False):
            assert threads.count(parameters, beside_screen=beside_screen) == threads_wanted


@pytest.mark.parametrize("value", ["", "0", "-2", "many", "1.5", ",4", "²"])
def test_an_invalid_omp_num_threads_is_ignored(cores: pytest.MonkeyPatch, value: str) -> None:
    """It raises no error either."""
    cores.setenv("OMP_NUM_THREADS", value)
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
def test_beside_packed_weights_threads_are_passive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of torch that spins takes the core of a thread that multiplies."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "x")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    before = sys.getswitchinterval()
    threads.prepare(beside_screen=False, packed=True)
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert sys.getswitchinterval() == before


@pytest.mark.usefixtures("interval")
@pytest.mark.parametrize("value", ["ACTIVE", "passive", ""])
def test_prepare_keeps_the_users_omp_wait_policy(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """For any value of it."""
    monkeypatch.setenv("OMP_WAIT_POLICY", value)
    threads.prepare()
    assert os.environ["OMP_WAIT_POLICY"] == value


def test_apply_sets_torchs_number_of_threads(cores: pytest.MonkeyPatch) -> None:
    """To the number of the policy."""
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


def test_products_use_all_cores_beside_a_screen(cores: pytest.MonkeyPatch) -> None:
    """Torch leaves one to the screen. A small model has one thread for both, and without a screen there is one rule."""
    before = torch.get_num_threads()
    try:
        for parameters, torchs, products in ((LARGE, 7, 8), (0, 1, 1)):
            assert threads.apply(parameters, beside_screen=True) == torchs
            assert threads.products() == products
        threads.apply(LARGE, beside_screen=True)
        threads.apply(LARGE, beside_screen=False)
        torch.set_num_threads(3)
        assert threads.products() == 3
    finally:
        threads.apply(0, beside_screen=False)
        torch.set_num_threads(before)


def test_single_thread_ends_with_its_block() -> None:
    """Also when the block raises an error."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with pytest.raises(ZeroDivisionError), threads.single_thread():
            assert torch.get_num_threads() == 1
            1 / 0  # noqa: B018
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)

"""How many cores a process may use: affinity, hyperthreads, and the CPU quotas of both versions of control groups."""

import os
from pathlib import Path

import pytest

from core import cores


@pytest.fixture(autouse=True)
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen logical processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def machine(root: Path, *, siblings: int = 1, groups: str = "", files: dict[str, str] | None = None) -> Path:
    """The files of a machine with 16 processors, `siblings` of them on a core."""
    for n in range(16):
        core = n % (16 // siblings)
        topology = root / f"sys/devices/system/cpu/cpu{n}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(
            ",".join(str(core + 16 // siblings * k) for k in range(siblings))
        )
    for name, content in {"proc/self/cgroup": groups, **(files or {})}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_hyperthreads_of_a_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machine(tmp_path, siblings=2)
    assert cores.usable(root) == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 8, 3})  # 0 and 8 are one core
    assert cores.usable(root) == 2


def test_without_the_topology_every_processor_counts(tmp_path: Path) -> None:
    assert cores.usable(tmp_path) == 16


GROUPS = "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {f"{GROUPS}/cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {f"{GROUPS}/cpu.max": "max 100000\n"}, 16),
        (
            "0::/pod/app\n",
            {f"{GROUPS}/pod/app/cpu.max": "max 100000", f"{GROUPS}/pod/cpu.max": "250000 100000"},
            2,
        ),
        ("0::/of/the/host\n", {f"{GROUPS}/cpu.max": "600000 100000\n"}, 6),
        ("0::/\n", {f"{GROUPS}/cpu.max": "50000 100000\n"}, 1),
        (
            "4:cpu,cpuacct:/docker/a\n2:memory:/\n",
            {
                f"{GROUPS}/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
                f"{GROUPS}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            "1:cpu:/\n",
            {f"{GROUPS}/cpu/cpu.cfs_quota_us": "-1", f"{GROUPS}/cpu/cpu.cfs_period_us": "100000"},
            16,
        ),
        ("0::/\n", {f"{GROUPS}/cpu.max": "nonsense"}, 16),
        ("nonsense", {}, 16),
    ],
)
def test_a_quota_of_a_control_group_limits_the_cores(
    groups: str, files: dict[str, str], expected: int, tmp_path: Path
) -> None:
    """Also that of a group around it, or of a container's root; half a processor is one."""
    assert cores.usable(machine(tmp_path, groups=groups, files=files)) == expected


def test_there_is_at_least_one_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where the number is unknown."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.usable(tmp_path) == 1

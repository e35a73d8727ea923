"""The memory and processors of this process, read from simulated /proc and /sys."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import psutil
import pytest

from stemsplit.supervisor import host_resources

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.supervisor.budget import HostMemory

MIB = 2**20


def _write(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def _memory(root: Path) -> HostMemory:
    return host_resources.host_memory(host_resources.limiting_groups(root))


def test_a_version_2_group_limits_memory(tmp_path: Path) -> None:
    """Its limit minus its usage is available; cached files do not count as usage."""
    root = _write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice/app",
            "sys/fs/cgroup/user.slice/app/memory.max": 800 * MIB,
            "sys/fs/cgroup/user.slice/app/memory.current": 500 * MIB,
            "sys/fs/cgroup/user.slice/app/memory.stat": f"anon 1\ninactive_file {100 * MIB}",
        },
    )
    memory = _memory(root)
    assert (memory.total_bytes, memory.available_bytes) == (800 * MIB, 400 * MIB)


def test_the_lowest_limit_of_all_parents_counts(tmp_path: Path) -> None:
    """`max` is not a limit."""
    root = _write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice/app",
            "sys/fs/cgroup/user.slice/app/memory.max": "max",
            "sys/fs/cgroup/user.slice/memory.max": 300 * MIB,
            "sys/fs/cgroup/user.slice/memory.current": 100 * MIB,
        },
    )
    memory = _memory(root)
    assert (memory.total_bytes, memory.available_bytes) == (300 * MIB, 200 * MIB)


def test_a_version_1_group_limits_memory(tmp_path: Path) -> None:
    """In a container the path is that of the host, so the top of the hierarchy counts."""
    root = _write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/0123\n3:cpu,cpuacct:/docker/0123\n0::/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 512 * MIB,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": 500 * MIB,
            "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 0",
        },
    )
    memory = _memory(root)
    assert (memory.total_bytes, memory.available_bytes) == (512 * MIB, 12 * MIB)


def test_without_limits_the_machine_counts(tmp_path: Path) -> None:
    """Version 1 represents the absence of a limit by a huge number."""
    total = psutil.virtual_memory().total
    assert _memory(tmp_path).total_bytes == total
    root = _write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
        },
    )
    assert _memory(root).total_bytes == total


def test_a_resource_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ulimit -v` sets one."""
    monkeypatch.setattr(
        resource,
        "getrlimit",
        lambda kind: (100 * MIB, -1) if kind == resource.RLIMIT_AS else (-1, -1),
    )
    assert _memory(tmp_path).total_bytes == 100 * MIB


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/cpu.max": "50000 100000"}, 1),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/a",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": 100_000,
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": 100_000,
            },
            1,
        ),
    ],
)
def test_a_group_limits_processors(tmp_path: Path, files: dict[str, object], expected: int) -> None:
    """The quota is rounded up to at least one processor."""
    assert host_resources.processors(_write(tmp_path, files)) == expected


def test_without_a_quota_the_affinity_mask_counts(tmp_path: Path) -> None:
    """`max` is not a quota."""
    root = _write(tmp_path, {"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/cpu.max": "max 100000"})
    assert host_resources.processors(root) == host_resources.processors(tmp_path / "absent") >= 1


def test_out_of_memory_kills_are_counted(tmp_path: Path) -> None:
    """The count comes from /proc/vmstat, and is None if it is missing there."""
    assert (
        host_resources.oom_kills(_write(tmp_path, {"proc/vmstat": "nr_free_pages 1\noom_kill 7"}))
        == 7
    )
    assert host_resources.oom_kills(tmp_path / "absent") is None

"""Runs in the supervisor. What this process may have of the machine: memory and processors.

The host, the control groups that the process is in (versions 1 and 2) and its resource limits each
set a bound; the smallest counts. Outside of Linux there are no control groups.
"""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from stemsplit.core.errors import StemsplitError
from stemsplit.supervisor.budget import HostMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_UNLIMITED_BYTES = 2**60
"""Version 1 writes "no limit" as a number of about 2**63."""


def limiting_groups(root: Path = Path("/")) -> list[Path]:
    """Find the control groups that bound this process's memory, so that this is done once.

    Args:
        root: of the file system that `proc` and `sys` are in.
    """
    return [
        group
        for folder in _groups(root, "memory")
        for group in (folder, *folder.parents)
        if _memory_limit(group) is not None
    ]


def host_memory(groups: Iterable[Path]) -> HostMemory:
    """Give what this process may have of the machine's memory, in all and now.

    Args:
        groups: as `limiting_groups` gives them.

    Raises:
        StemsplitError: if the system does not tell.
    """
    try:
        memory = psutil.virtual_memory()
    except OSError as error:
        raise StemsplitError(
            f"The memory of this machine cannot be read ({error}).",
            "Mount /proc, as by `mount -t proc proc /proc`.",
        ) from error
    total, available = memory.total, memory.available
    for group in groups:
        limit = _memory_limit(group)
        if limit is not None:
            used = _first_number(group, "memory.current", "memory.usage_in_bytes") or 0
            total = min(total, limit)
            available = min(available, max(0, limit - used + _reclaimable(group)))
    for limit in _resource_limits():
        total, available = min(total, limit), min(available, limit)
    return HostMemory(total_bytes=total, available_bytes=available)


def processors(root: Path = Path("/")) -> int:
    """Count the processors that this process may use, rounded up where a group has a share."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    for folder in _groups(root, "cpu"):
        for group in (folder, *folder.parents):
            with contextlib.suppress(OSError, ValueError):
                quota, period = (group / "cpu.max").read_text().split()  # "max" is no number
                count = min(count, math.ceil(int(quota) / int(period)))
            quota_us = _first_number(group, "cpu.cfs_quota_us")
            period_us = _first_number(group, "cpu.cfs_period_us")
            if quota_us is not None and period_us and quota_us > 0:
                count = min(count, math.ceil(quota_us / period_us))
    return max(1, count)


def oom_kills(root: Path = Path("/")) -> int | None:
    """Count the processes that the kernel has killed for want of memory since it was started.

    `oom_kill` of /proc/vmstat counts all of them, those in control groups included.

    Returns:
        None where the kernel does not say.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return None


def _memory_limit(group: Path) -> int | None:
    return _first_number(group, "memory.max", "memory.limit_in_bytes")


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Find the folder of this process's group, in each hierarchy that the controller may be in.

    Inside a container the path may name folders that only the host sees; the hierarchy's top is
    then the container's own group.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        tops = (controllers, controller) if controllers else ("", "unified")
        for top in tops:
            mount = root / "sys/fs/cgroup" / top
            folder = mount / path.lstrip("/")
            if folder.is_dir():
                yield folder
            elif mount.is_dir():
                yield mount


def _reclaimable(group: Path) -> int:
    """Give the bytes of cached files that the kernel drops before anything else."""
    with contextlib.suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name in {"inactive_file", "total_inactive_file"}:
                return int(count)
    return 0


def _first_number(folder: Path, *names: str) -> int | None:
    for name in names:
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            number = int((folder / name).read_text())
            return number if number < _UNLIMITED_BYTES else None
    return None


def _resource_limits() -> Iterator[int]:
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield soft

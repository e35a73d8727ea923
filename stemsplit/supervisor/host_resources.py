"""Runs in the supervisor. Reads how much memory and how many processors this process may use.

The machine, the process's control groups (versions 1 and 2) and its resource limits each set a
bound; the smallest counts. Control groups exist only on Linux.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from stemsplit.core.errors import StemsplitError
from stemsplit.supervisor.budget import HostMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_UNLIMITED_BYTES = 2**60
"""Version 1 represents "no limit" by a number of about 2**63."""


def limiting_groups(root: Path = Path("/")) -> list[Path]:
    """Return the control groups that limit the memory of this process; call it once.

    Args:
        root: folder that contains `proc` and `sys`.
    """
    return [
        group
        for folder in _groups(root, "memory")
        for group in (folder, *folder.parents)
        if _memory_limit(group) is not None
    ]


def host_memory(groups: Iterable[Path]) -> HostMemory:
    """Read the memory that this process may use, in total and now.

    Args:
        groups: result of `limiting_groups`.

    Raises:
        StemsplitError: if the system does not report its memory.
    """
    try:
        memory = psutil.virtual_memory()
    except OSError as error:
        raise StemsplitError(
            f"This machine's memory usage cannot be read ({error}).",
            "Mount /proc, for example with `mount -t proc proc /proc`.",
        ) from error
    total, available = memory.total, memory.available
    for group in groups:
        limit = _memory_limit(group)
        if limit is not None:
            used = _first_number(group, "memory.current", "memory.usage_in_bytes") or 0
            total = min(total, limit)
            # Cached files, which the kernel drops before anything else.
            names = ("inactive_file", "total_inactive_file")
            reclaimable = _number_in(group / "memory.stat", *names) or 0
            available = min(available, max(0, limit - used + reclaimable))
    for limit in _resource_limits():
        total, available = min(total, limit), min(available, limit)
    return HostMemory(total_bytes=total, available_bytes=available)


def processors(root: Path = Path("/")) -> int:
    """Return how many processors this process may use; a group's quota is rounded up."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    for folder in _groups(root, "cpu"):
        for group in (folder, *folder.parents):
            with contextlib.suppress(OSError, ValueError):
                quota, period = (group / "cpu.max").read_text().split()
                count = min(count, math.ceil(int(quota) / int(period)))  # raises for "max"
            quota_us = _first_number(group, "cpu.cfs_quota_us")
            period_us = _first_number(group, "cpu.cfs_period_us")
            if quota_us is not None and period_us and quota_us > 0:
                count = min(count, math.ceil(quota_us / period_us))
    return max(1, count)


def oom_kills(root: Path = Path("/")) -> int | None:
    """Return the number of out-of-memory kills since boot; None if the kernel does not count them.

    `oom_kill` in /proc/vmstat includes kills inside control groups.
    """
    return _number_in(root / "proc/vmstat", "oom_kill")


def _number_in(file: Path, *names: str) -> int | None:
    """Return the number on the first line named one of `names`; None if it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, number = line.partition(" ")
            if name in names:
                return int(number)
    return None


def _memory_limit(group: Path) -> int | None:
    return _first_number(group, "memory.max", "memory.limit_in_bytes")


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folder of this process's group in each hierarchy that may have the controller.

    Inside a container the path may name folders that only the host sees; the top of the hierarchy
    is then the container's own group.
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


def _first_number(folder: Path, *names: str) -> int | None:
    for name in names:
        with contextlib.suppress(OSError, ValueError):  # "max" is not a number
            number = int((folder / name).read_text())
            return number if number < _UNLIMITED_BYTES else None
    return None


def _resource_limits() -> Iterator[int]:
    if sys.platform == "win32":
        return
    import resource

    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield soft

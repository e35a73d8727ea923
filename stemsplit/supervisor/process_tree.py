"""Runs in the supervisor. Measures memory, CPU time and I/O of process trees.

*Memory* is PSS where the system reports it (Linux): each page divided by the number of processes
that share it, so a fork server and its children are not counted twice. Elsewhere it is USS. Both
are expensive, because the kernel walks all pages. RSS is cheap and never smaller, so it serves as
an upper bound.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import psutil

from stemsplit.supervisor import host_resources
from stemsplit.supervisor.prediction import SUPERVISOR_BYTES
from stemsplit.supervisor.session import SESSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from stemsplit.supervisor.budget import HostMemory

_UNREADABLE = (psutil.Error, OSError, RuntimeError, ValueError)
"""Raised by psutil for a process that is just exiting; the last two if files in /proc are suddenly
empty (https://github.com/giampaolo/psutil/issues/1004)."""

_SERVICE_SECONDS = 5.0
"""Lifetime of the exact memory of processes outside the children's trees, mainly the fork server,
while the set of children stays the same. It changes little then, and reading it is half of the
cost."""

_LIST_SECONDS = 2.0
"""Lifetime of the list of processes; a new one reads every process of the system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Resource usage of one or more processes.

    Attributes:
        rss_bytes: RSS; counts shared pages in each process.
        pss_bytes: memory as the module defines it; None if not read.
        private_bytes: USS, which becomes free when they exit; None if not read.
        cpu_seconds: CPU time of the processes and their exited children.
        io_bytes: bytes read and written; 0 if the system does not report them.
        waits_for_disk: whether a process is in uninterruptible sleep.
    """

    rss_bytes: int = 0
    pss_bytes: int | None = None
    private_bytes: int | None = None
    cpu_seconds: float = 0.0
    io_bytes: int = 0
    waits_for_disk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Usage at one moment.

    Attributes:
        total: usage of the supervisor, its service processes, and all sampled trees.
        trees: usage of each tree by the PID of its root, without roots that have exited.
    """

    total: Usage
    trees: dict[int, Usage]


class Meter(Protocol):
    """What the pool reads from the machine; tests substitute it."""

    def sample(self, roots: Sequence[int], *, exact: bool) -> Sample:
        """Measure this process and its service processes, and the trees below `roots`.

        Args:
            roots: PIDs.
            exact: whether to read PSS and USS too.
        """

    def host_memory(self) -> HostMemory:
        """Return the memory of the machine, in total and now."""

    def oom_kills(self) -> int | None:
        """Return the kernel's number of out-of-memory kills; None if unknown."""


@dataclass(slots=True)
class SystemMeter:
    """Reads the real machine through psutil."""

    clock: Callable[[], float] = time.monotonic
    _processes: list[tuple[psutil.Process, int | None]] = field(default_factory=list)
    _roots: frozenset[int] = frozenset()
    _list_expires_at: float = 0.0
    _service_usage: dict[int, Usage] = field(default_factory=dict)
    _service_expires_at: float = 0.0
    service_pids: Callable[[], frozenset[int]] = SESSION.service_pids
    _groups: list[Path] = field(default_factory=host_resources.limiting_groups)

    def sample(self, roots: Sequence[int], *, exact: bool) -> Sample:
        """See `Meter.sample`."""
        self._refresh(roots)
        used: list[tuple[int | None, Usage]] = []
        for process, root in self._processes:
            try:
                used.append((root, self._usage(process, root, exact=exact)))
            except _UNREADABLE:  # it has exited
                continue
        trees = {root: [usage for its_root, usage in used if its_root == root] for root in roots}
        return Sample(
            total=_sum([usage for _, usage in used], exact=exact),
            trees={root: _sum(usages, exact=exact) for root, usages in trees.items() if usages},
        )

    def _refresh(self, roots: Sequence[int]) -> None:
        """List the processes again if the list has expired or the roots have changed."""
        has_changed = self._roots != frozenset(roots)
        if has_changed:
            self._service_expires_at = 0.0
        if not has_changed and self.clock() < self._list_expires_at:
            return
        try:
            self._processes = _list_processes(roots, self.service_pids())
        except _UNREADABLE:  # the system hides other processes
            self._processes = self._processes or [(psutil.Process(), None)]
        self._roots = frozenset(roots)
        self._list_expires_at = self.clock() + _LIST_SECONDS

    def _usage(self, process: psutil.Process, root: int | None, *, exact: bool) -> Usage:
        if root is not None:
            return _usage(process, exact=exact)
        if not exact:
            return Usage(rss_bytes=process.memory_info().rss)
        if self.clock() >= self._service_expires_at:
            self._service_usage.clear()
            self._service_expires_at = self.clock() + _SERVICE_SECONDS
        if process.pid not in self._service_usage:
            pss, private = _memory(process)
            if process.pid == os.getpid():
                # A program that uses stemsplit may be large; that is not the pool's concern.
                pss, private = min(pss, SUPERVISOR_BYTES), min(private, SUPERVISOR_BYTES)
            self._service_usage[process.pid] = Usage(
                rss_bytes=process.memory_info().rss, pss_bytes=pss, private_bytes=private
            )
        return self._service_usage[process.pid]

    def host_memory(self) -> HostMemory:
        """See `Meter.host_memory`."""
        return host_resources.host_memory(self._groups)

    def oom_kills(self) -> int | None:
        """See `Meter.oom_kills`."""
        return host_resources.oom_kills()


def _list_processes(
    roots: Sequence[int], service_pids: frozenset[int]
) -> list[tuple[psutil.Process, int | None]]:
    """Return this process, the service processes, and all below `roots`, each with its root.

    Other descendants of this program do not belong to the pool.
    """
    me = psutil.Process()
    descendants = {process.pid: process for process in me.children(recursive=True)}
    parents: dict[int, int] = {}
    for pid, process in descendants.items():
        with contextlib.suppress(*_UNREADABLE):
            parents[pid] = process.ppid()

    def root_of(pid: int) -> int | None:
        while pid in parents:
            if pid in roots:
                return pid
            pid = parents[pid]
        return None

    with_roots = [(process, root_of(pid)) for pid, process in descendants.items()]
    return [
        (me, None),
        *((process, root) for process, root in with_roots if root or process.pid in service_pids),
    ]


def _usage(process: psutil.Process, *, exact: bool) -> Usage:
    with process.oneshot():
        rss = process.memory_info().rss
        pss, private = _memory(process) if exact else (None, None)
        times = process.cpu_times()
        return Usage(
            rss_bytes=rss,
            pss_bytes=pss,
            private_bytes=private,
            cpu_seconds=sum(times[:4]),
            io_bytes=_io_bytes(process),
            waits_for_disk=process.status() == psutil.STATUS_DISK_SLEEP,
        )


def _memory(process: psutil.Process) -> tuple[int, int]:
    """Return PSS and USS; RSS for both, which is never smaller, if the system denies them."""
    try:
        memory = process.memory_full_info()
        return getattr(memory, "pss", memory.uss), memory.uss
    except (psutil.AccessDenied, AttributeError):
        rss = process.memory_info().rss
        return rss, rss


def _io_bytes(process: psutil.Process) -> int:
    try:
        counters = process.io_counters()
    except (AttributeError, *_UNREADABLE):  # missing on macOS, denied on some systems
        return 0
    # The counters of characters, if they exist, also include reads from the cache.
    read = getattr(counters, "read_chars", counters.read_bytes)
    return int(read + getattr(counters, "write_chars", counters.write_bytes))


def _sum(parts: Sequence[Usage], *, exact: bool) -> Usage:
    return Usage(
        rss_bytes=sum(part.rss_bytes for part in parts),
        pss_bytes=sum(part.pss_bytes or 0 for part in parts) if exact else None,
        private_bytes=sum(part.private_bytes or 0 for part in parts) if exact else None,
        cpu_seconds=sum(part.cpu_seconds for part in parts),
        io_bytes=sum(part.io_bytes for part in parts),
        waits_for_disk=any(part.waits_for_disk for part in parts),
    )

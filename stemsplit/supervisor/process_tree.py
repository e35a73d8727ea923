"""Runs in the supervisor. Memory, processor time and input/output of process trees.

*Memory* is PSS where the system has it (Linux): each page divided by the number of processes that
share it, so that a fork server and its children are not counted twice; USS elsewhere. Both are dear
to read, for the kernel walks all pages. RSS is cheap and never smaller, so it serves as a bound.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import psutil

from stemsplit.supervisor import host
from stemsplit.supervisor.prediction import SUPERVISOR_BYTES
from stemsplit.supervisor.session import SESSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from stemsplit.supervisor.budget import HostMemory

_UNREADABLE = (psutil.Error, OSError, RuntimeError, ValueError)
"""What psutil raises for a process that is just ending; the last two for files in /proc that are
suddenly empty (https://github.com/giampaolo/psutil/issues/1004)."""

_OWN_SECONDS = 5.0
"""How long the exact memory of processes that are no child's, the fork server's first of all, is
believed while no child comes or goes. It changes little then; reading it is half of the cost."""

_FAMILY_SECONDS = 2.0
"""How long the list of processes is believed; looking for new ones reads all of the system's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What some processes have used.

    Attributes:
        rss_bytes: shared pages counted in each process.
        pss_bytes: see the module; None if it was not read.
        private_bytes: what would come free if they ended (USS); None if it was not read.
        cpu_seconds: of the processor, their own and their ended children's.
        io_bytes: read and written, 0 where the system does not say.
        waits_for_disk: whether one of them is in an uninterruptible wait.
    """

    rss_bytes: int = 0
    pss_bytes: int | None = None
    private_bytes: int | None = None
    cpu_seconds: float = 0.0
    io_bytes: int = 0
    waits_for_disk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at everything.

    Attributes:
        total: of the supervisor and all below it.
        trees: of each process that was asked for, with all below it; those that are gone are left
            out.
    """

    total: Usage
    trees: dict[int, Usage]


class Meter(Protocol):
    """What the pool reads of the machine; tests put something else in its place."""

    def sample(self, roots: Sequence[int], *, exact: bool) -> Sample:
        """Look at this process's whole tree, and at the trees below `roots`.

        Args:
            roots: process numbers.
            exact: whether to read PSS and USS as well.
        """

    def host_memory(self) -> HostMemory:
        """Give what there is of memory in all and now."""

    def oom_kills(self) -> int | None:
        """Count the kernel's kills for want of memory, None if unknown."""


@dataclass(slots=True)
class SystemMeter:
    """Reads the real machine, through psutil."""

    clock: Callable[[], float] = time.monotonic
    _family: list[tuple[psutil.Process, int | None]] = field(default_factory=list)
    _roots: frozenset[int] = frozenset()
    _family_until: float = 0.0
    _own: dict[int, Usage] = field(default_factory=dict)
    _own_until: float = 0.0
    staff: Callable[[], frozenset[int]] = SESSION.staff
    _groups: list[Path] = field(default_factory=host.limiting_groups)

    def sample(self, roots: Sequence[int], *, exact: bool) -> Sample:
        """See `Meter.sample`."""
        if self.clock() >= self._family_until or self._roots != frozenset(roots):
            if self._roots != frozenset(roots):
                self._own_until = 0.0
            self._family = self._find_family(roots)
            self._roots = frozenset(roots)
            self._family_until = self.clock() + _FAMILY_SECONDS
        used: list[tuple[int | None, Usage]] = []
        for process, root in self._family:
            try:
                used.append((root, self._usage(process, root, exact=exact)))
            except _UNREADABLE:  # it ended meanwhile
                continue
        return Sample(
            total=_sum([usage for _, usage in used], exact=exact),
            trees={
                root: _sum([usage for one, usage in used if one == root], exact=exact)
                for root in roots
                if any(one == root for one, _ in used)
            },
        )

    def _find_family(self, roots: Sequence[int]) -> list[tuple[psutil.Process, int | None]]:
        try:
            return _family(roots, self.staff())
        except _UNREADABLE:  # a system that shows no others' processes
            return self._family or [(psutil.Process(), None)]

    def _usage(self, process: psutil.Process, root: int | None, *, exact: bool) -> Usage:
        if root is not None:
            return _usage(process, exact=exact)
        if not exact:
            return Usage(rss_bytes=process.memory_info().rss)
        if self.clock() >= self._own_until:
            self._own.clear()
            self._own_until = self.clock() + _OWN_SECONDS
        if process.pid not in self._own:
            pss, private = _memory(process)
            rss = process.memory_info().rss
            if process.pid == os.getpid():
                # A program that uses stemsplit may be large itself, which is not ours to judge.
                pss, private = min(pss, SUPERVISOR_BYTES), min(private, SUPERVISOR_BYTES)
            self._own[process.pid] = Usage(rss_bytes=rss, pss_bytes=pss, private_bytes=private)
        return self._own[process.pid]

    def host_memory(self) -> HostMemory:
        """See `Meter.host_memory`."""
        return host.host_memory(self._groups)

    def oom_kills(self) -> int | None:
        """See `Meter.oom_kills`."""
        return host.oom_kills()


def _family(roots: Sequence[int], staff: frozenset[int]) -> list[tuple[psutil.Process, int | None]]:
    """List this process, the `staff`, and all below `roots`, each with the root it is below.

    What else this program has started is none of the pool's.
    """
    me = psutil.Process()
    below = {process.pid: process for process in me.children(recursive=True)}
    parents: dict[int, int] = {}
    for pid, process in below.items():
        with contextlib.suppress(*_UNREADABLE):
            parents[pid] = process.ppid()

    def root_of(pid: int) -> int | None:
        while pid in parents:
            if pid in roots:
                return pid
            pid = parents[pid]
        return None

    found = [(process, root_of(pid)) for pid, process in below.items()]
    ours = [(process, root) for process, root in found if root or process.pid in staff]
    return [(me, None), *ours]


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
    """Give PSS and USS; where the system keeps them from us, RSS for both, which is no less."""
    try:
        memory = process.memory_full_info()
        return getattr(memory, "pss", memory.uss), memory.uss
    except (psutil.AccessDenied, AttributeError):
        rss = process.memory_info().rss
        return rss, rss


def _io_bytes(process: psutil.Process) -> int:
    try:
        counters = process.io_counters()
    except (AttributeError, *_UNREADABLE):  # macOS has none; elsewhere it may be forbidden
        return 0
    # The characters count also what the cache answered, where they are known.
    read = getattr(counters, "read_chars", counters.read_bytes)
    return int(read + getattr(counters, "write_chars", counters.write_bytes))


def _sum(parts: Sequence[Usage], *, exact: bool) -> Usage:
    return Usage(
        rss_bytes=sum(one.rss_bytes for one in parts),
        pss_bytes=sum(one.pss_bytes or 0 for one in parts) if exact else None,
        private_bytes=sum(one.private_bytes or 0 for one in parts) if exact else None,
        cpu_seconds=sum(one.cpu_seconds for one in parts),
        io_bytes=sum(one.io_bytes for one in parts),
        waits_for_disk=any(one.waits_for_disk for one in parts),
    )

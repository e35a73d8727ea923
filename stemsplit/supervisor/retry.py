"""Runs in the supervisor. Decides whether and how to retry a track after a failed attempt. Pure.

A retry that changes nothing usually fails again. After too much memory, a track is retried lean,
then alone; after a crash, alone; after a stall, alone with one thread. Each group of reasons has
its own retry count. An eviction is not the track's fault and never counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.core.limits import Resources
from stemsplit.core.outcome import Reason
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis, exit_name

if TYPE_CHECKING:
    from collections.abc import Sequence

MEMORY_REASONS = frozenset({Reason.OVER_RAM_CAP, Reason.KILLED_BY_KERNEL})
CRASH_REASONS = frozenset({Reason.CRASHED, Reason.NO_RESULT})
HANG_REASONS = frozenset({Reason.STALLED, Reason.TIMED_OUT})
NETWORK_REASONS = frozenset({Reason.UNREACHABLE})

EVICTIONS_BEFORE_LEAN = 5
"""After up to this many evictions, a track is retried unchanged; after more, lean and alone."""

MAX_EVICTIONS = 10
"""After up to this many evictions, a track is retried; after more, it has failed."""

_LEAN_AND_ALONE = Resources(threads=1, lean=True, alone=True)
"""The least memory that a track can need."""

MAX_STARTUP_DEATHS = 3
"""Consecutive children that die during startup before the engine counts as broken."""


def next_resources(
    resources: Resources, reason: Reason, earlier: Sequence[Reason], retries: int
) -> Resources | None:
    """Return the resources of the next attempt at a track, or None to give up.

    Args:
        resources: resources of the attempt that ended.
        reason: why it ended.
        earlier: reasons of the track's attempts before it.
        retries: retries allowed for each group of reasons.
    """
    if reason is Reason.EVICTED:
        evictions = earlier.count(Reason.EVICTED)
        if evictions < EVICTIONS_BEFORE_LEAN:
            return resources
        return _LEAN_AND_ALONE if evictions < MAX_EVICTIONS else None
    for group in (MEMORY_REASONS, CRASH_REASONS, HANG_REASONS, NETWORK_REASONS):
        if reason in group:
            count = sum(before in group for before in earlier)
            return _changed(resources, reason, count) if count < retries else None
    return None


def _changed(resources: Resources, reason: Reason, count: int) -> Resources | None:
    if reason in MEMORY_REASONS:
        lean = Resources(threads=1, lean=True, alone=resources.alone)
        if resources == _LEAN_AND_ALONE:
            return None  # it would use as much again
        return lean if count == 0 and lean != resources else _LEAN_AND_ALONE
    if reason in NETWORK_REASONS:
        return resources  # the passage of time may be enough
    if reason is Reason.STALLED:
        return Resources(threads=1, lean=resources.lean, alone=True)
    threads = resources.threads if count == 0 else 1
    return Resources(threads=threads, lean=resources.lean, alone=True)


def count_startup_deaths(before: int, *, died_at_start: bool, reason: Reason) -> int:
    """Return the number of consecutive children that died before their engine was loaded.

    Args:
        before: the count so far.
        died_at_start: whether the last child exited before its engine was loaded.
        reason: why it exited. Only crashes and stalls count: a fault of one file, or a termination
            for another reason, predicts nothing about the next child.
    """
    if not died_at_start:
        return 0
    return before + 1 if reason in CRASH_REASONS | {Reason.STALLED} else before


def broken_engine(exit_code: int) -> ExitDiagnosis:
    """Return the diagnosis for too many deaths during startup, the last with `exit_code`."""
    return ExitDiagnosis(
        reason=Reason.ENGINE_UNAVAILABLE,
        message=f"{MAX_STARTUP_DEATHS} children in a row died during startup, the last with "
        f"{exit_name(exit_code)}.",
        remedy="The engine or its model is broken: read the log, run `stemsplit models verify`, or "
        "reinstall stemsplit in a new virtual environment. If `ulimit -u` is low, raise it.",
    )

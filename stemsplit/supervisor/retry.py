"""Runs in the supervisor. After an attempt that failed: give up, or change something. Pure.

A retry that changes nothing mostly fails again. So one that took too much memory is tried leaner,
then alone; one that crashed, alone; one that stalled, alone and with one thread. Each kind of
failure has a count of its own. An eviction is not the track's fault and is never counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.core.limits import Resources
from stemsplit.core.outcome import Reason
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis, exit_name

if TYPE_CHECKING:
    from collections.abc import Sequence

MEMORY = frozenset({Reason.OVER_RAM_CAP, Reason.KILLED_BY_KERNEL})
FALLS = frozenset({Reason.CRASHED, Reason.NO_RESULT})
NETWORK = frozenset({Reason.UNREACHABLE})
HANGS = frozenset({Reason.STALLED, Reason.TIMED_OUT})

EVICTIONS_BEFORE_LEAN = 5
MOST_EVICTIONS = 10
"""After the former a track is tried leaner and alone; after the latter it has failed."""

DEATHS_AT_START = 3
"""So many children in a row that die while they start are no fault of their files."""


def next_resources(
    resources: Resources, reason: Reason, earlier: Sequence[Reason], retries: int
) -> Resources | None:
    """Decide what follows an attempt.

    Args:
        resources: how the attempt went about it.
        reason: why it ended.
        earlier: the reasons of the attempts before it at the same track.
        retries: how many are allowed for each kind of failure.

    Returns:
        how to go about the next attempt; None to give up.
    """
    if reason is Reason.EVICTED:
        return _after_eviction(resources, sum(one is Reason.EVICTED for one in earlier))
    for kind in (MEMORY, FALLS, HANGS, NETWORK):
        if reason in kind:
            count = sum(one in kind for one in earlier)
            return _changed(resources, reason, count) if count < retries else None
    return None


def _after_eviction(resources: Resources, count: int) -> Resources | None:
    """Go on as before, without blame; but not for ever on a machine that has no room at all."""
    if count < EVICTIONS_BEFORE_LEAN:
        return resources
    return Resources(threads=1, lean=True, alone=True) if count < MOST_EVICTIONS else None


def _changed(resources: Resources, reason: Reason, count: int) -> Resources | None:
    if reason in MEMORY:
        leaner = Resources(threads=1, lean=True, alone=resources.alone)
        leanest = Resources(threads=1, lean=True, alone=True)
        if resources == leanest:
            return None  # it would take as much again
        return leaner if count == 0 and leaner != resources else leanest
    if reason in NETWORK:
        return resources  # time has gone by, which is what may help
    if reason is Reason.STALLED:
        return Resources(threads=1, lean=resources.lean, alone=True)
    threads = resources.threads if count == 0 else 1
    return Resources(threads=threads, lean=resources.lean, alone=True)


def deaths_in_a_row(before: int, *, died_at_start: bool, reason: Reason) -> int:
    """Count children that die one after the other before their engine is loaded.

    Args:
        before: the count so far.
        died_at_start: whether this one ended before its engine was loaded.
        reason: why it ended. What is wrong with one file, and what the supervisor did on purpose
            for other reasons than a stall, says nothing about the next child.
    """
    if not died_at_start:
        return 0
    return before + 1 if reason in FALLS | {Reason.STALLED} else before


def engine_is_broken(exit_code: int) -> ExitDiagnosis:
    """Say that children die at start, the last of them with `exit_code`."""
    return ExitDiagnosis(
        reason=Reason.ENGINE_UNAVAILABLE,
        message=f"{DEATHS_AT_START} children in a row died while they started, the last by "
        f"{exit_name(exit_code)}.",
        remedy="The engine or its model is broken: look into the log, run `stemsplit models "
        "verify`, or reinstall stemsplit in a fresh virtual environment. If `ulimit -u` allows few "
        "processes, allow more.",
    )

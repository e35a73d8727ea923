"""Runs in the supervisor. Decides under the budget which child may start and which must go. Pure.

`stemsplit.supervisor.budget` defines the budget, `stemsplit.supervisor.prediction` predicts the
memory of a child, and `stemsplit.supervisor.attempt_transitions` enforces a child's own cap.
docs/memory.md lists the thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stemsplit.core.compat import StrEnum
from stemsplit.core.outcome import Reason
from stemsplit.core.text import mebibytes
from stemsplit.supervisor.attempt_transitions import HARD_CAP
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stemsplit.supervisor.attempt_state import Timings
    from stemsplit.supervisor.budget import Budget


CHILDREN_PER_WORKER = 2
"""Most children per worker: while one closes its files, another may start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningChild:
    """A running child.

    Attributes:
        ticket: its number in the pool; a later child has a larger one.
        private_bytes: its private memory so far; 0 if not yet known.
        expected_bytes: its expected peak of private memory.
        alone: whether no other child may run at the same time.
        is_finishing: whether it only closes its files, and waits for the disk.
        is_ending: whether it is being terminated.
    """

    ticket: int
    private_bytes: int
    expected_bytes: int
    alone: bool = False
    is_finishing: bool = False
    is_ending: bool = False

    @property
    def growth_bytes(self) -> int:
        """Memory by which it is still expected to grow."""
        if self.is_finishing:
            return 0
        return max(0, self.expected_bytes - self.private_bytes)


class WaitReason(StrEnum):
    """Why no child may start now, worded for the middle of a sentence."""

    ALONE = "another track needs the machine to itself"
    BUDGET = "the memory budget does not allow it now"
    HOST = "the machine does not have enough free memory"


def is_full(running: Sequence[RunningChild], workers: int, *, early: bool) -> bool:
    """Return whether no further child may run, memory aside.

    Args:
        running: the running children.
        workers: how many may work at once now.
        early: whether a child that only closes its files makes room for another.
    """
    if not early:
        return len(running) >= workers
    busy = sum(not child.is_finishing for child in running)
    return busy >= workers or len(running) >= CHILDREN_PER_WORKER * workers


def wait_reason(
    running: Sequence[RunningChild],
    *,
    expected_bytes: int,
    alone: bool,
    used_bytes: int,
    available_bytes: int,
    budget: Budget,
) -> WaitReason | None:
    """Return why another child may not start now, or None if it may; see also `is_full`.

    While no child runs, the budget does not apply: `choose_concurrency` has checked that one child
    fits, and its cap holds.

    Args:
        running: the running children.
        expected_bytes: expected peak of the other child's private memory.
        alone: whether no other child may run at the same time as it.
        used_bytes: memory of all processes now, including the fork server.
        available_bytes: available memory of the machine.
        budget: memory limits.
    """
    if running and (alone or any(child.alone for child in running)):
        return WaitReason.ALONE
    growth = expected_bytes + sum(child.growth_bytes for child in running)
    if running and used_bytes + growth > budget.total_bytes:
        return WaitReason.BUDGET
    if available_bytes - growth < budget.min_free_bytes:
        return WaitReason.HOST
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Termination:
    """A child to terminate because memory runs low.

    Attributes:
        ticket: number of the child.
        diagnosis: why.
        at_once: whether to send SIGKILL without asking first.
    """

    ticket: int
    diagnosis: ExitDiagnosis
    at_once: bool = False


def choose_termination(
    running: Sequence[RunningChild], *, used_bytes: int, available_bytes: int, budget: Budget
) -> Termination | None:
    """Return the child to terminate because memory runs low; None if all may stay.

    A single child that takes all processes over the budget has exceeded its cap. Otherwise the
    youngest child is evicted, as with GNU parallel's `--memfree`: if several children exceed the
    budget together, or if the machine has less than half of `Budget.min_free_bytes` left.
    """
    if not running or any(child.is_ending for child in running):
        return None
    youngest = max(child.ticket for child in running)
    if used_bytes > budget.total_bytes:
        if len(running) == 1:
            diagnosis = ExitDiagnosis(
                reason=Reason.OVER_RAM_CAP,
                message=f"All processes together used {mebibytes(used_bytes)} of memory; "
                f"--max-ram allows {mebibytes(budget.total_bytes)}.",
                remedy="Raise --max-ram, or check the file.",
            )
            at_once = used_bytes > HARD_CAP * budget.total_bytes
            return Termination(ticket=youngest, diagnosis=diagnosis, at_once=at_once)
        return Termination(ticket=youngest, diagnosis=_evicted("the memory budget was exceeded"))
    if available_bytes < budget.min_free_bytes / 2:
        return Termination(
            ticket=youngest,
            diagnosis=_evicted(f"the machine had only {mebibytes(available_bytes)} of memory left"),
        )
    return None


def _evicted(why: str) -> ExitDiagnosis:
    return ExitDiagnosis(
        reason=Reason.EVICTED,
        message=f"The child was terminated because {why}; the track will be retried.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """How many children may work at once, reduced after evictions.

    Attributes:
        workers: number now.
        max_workers: number without evictions.
        changed_at: when `workers` last changed.
        has_evicted: whether there has been an eviction.
    """

    workers: int
    max_workers: int
    changed_at: float
    has_evicted: bool = False

    def after_eviction(self, now: float) -> Throttle:
        """Return the throttle with half the workers, at least one."""
        return replace(self, workers=max(1, self.workers // 2), changed_at=now, has_evicted=True)

    def limited(self, workers: int, now: float) -> Throttle:
        """Return the throttle with at most `workers` for good: the system has no room for more."""
        workers = min(self.max_workers, workers)
        return replace(self, workers=workers, max_workers=workers, changed_at=now, has_evicted=True)

    def is_settling(self, now: float, timings: Timings) -> bool:
        """Return whether the last eviction is too recent for its effect to show."""
        return self.has_evicted and now - self.changed_at < timings.settle

    def is_calm(self, now: float, timings: Timings) -> bool:
        """Return whether there was no eviction for a while."""
        return not self.has_evicted or now - self.changed_at >= timings.recover

    def recovered(self, now: float, timings: Timings) -> Throttle:
        """Return the throttle with one worker more if there was no eviction for a while."""
        if self.workers >= self.max_workers or now - self.changed_at < timings.recover:
            return self
        return replace(self, workers=self.workers + 1, changed_at=now)

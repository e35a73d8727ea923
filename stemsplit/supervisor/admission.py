"""Runs in the supervisor. Which child may start now, and which must go, under the budget. Pure.

The budget itself is `stemsplit.supervisor.budget`, what a child will take
`stemsplit.supervisor.prediction`, what becomes of one that is over its own cap
`stemsplit.supervisor.attempt_transitions`. docs/memory.md has the ladder of thresholds.
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


MOST_A_WORKER = 2
"""Children at once for each that may work: one more may start while another closes its files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A child that works.

    Attributes:
        ticket: its number in the pool; a later child has a larger one.
        private_bytes: what it has taken so far, without what it shares; 0 if not known yet.
        expected_bytes: what it will take at its peak.
        alone: whether nothing else may run beside it.
        finishing: whether it only closes its files any more, and waits for the disk.
        ending: whether it is being ended already.
    """

    ticket: int
    private_bytes: int
    expected_bytes: int
    alone: bool = False
    finishing: bool = False
    ending: bool = False

    @property
    def growth_bytes(self) -> int:
        """What it will still take."""
        if self.finishing:
            return 0
        return max(0, self.expected_bytes - self.private_bytes)


class Hold(StrEnum):
    """Why nothing may start now, in words for the middle of a sentence."""

    ALONE = "a track that needs the machine for itself"
    BUDGET = "the budget of memory"
    HOST = "the machine's free memory"


def is_full(running: Sequence[Running], workers: int, *, early: bool) -> bool:
    """Tell whether there is no place for one more child.

    Args:
        running: the children there are.
        workers: how many may work at once now.
        early: whether one more may start for each that only closes its files any more.
    """
    if not early:
        return len(running) >= workers
    busy = sum(not one.finishing for one in running)
    return busy >= workers or len(running) >= MOST_A_WORKER * workers


def may_start(
    candidate: Running,
    running: Sequence[Running],
    *,
    used_bytes: int,
    available_bytes: int,
    budget: Budget,
) -> Hold | None:
    """Decide whether a child may start now, where there is a place for it (`is_full`).

    Where nothing runs, the budget is no obstacle: that one child fits was settled when the crew was
    chosen, and its cap holds.

    Args:
        candidate: the next in line.
        running: the children there are.
        used_bytes: of all processes together now, the fork server included.
        available_bytes: of the machine, now.
        budget: the limits.

    Returns:
        None if it may, or one of `Hold`.
    """
    if running and (candidate.alone or any(one.alone for one in running)):
        return Hold.ALONE
    growth = candidate.expected_bytes + sum(one.growth_bytes for one in running)
    if running and used_bytes + growth > budget.total_bytes:
        return Hold.BUDGET
    if available_bytes - growth < budget.min_free_bytes:
        return Hold.HOST
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A child that must go for the sake of all.

    Attributes:
        ticket: which.
        diagnosis: why.
        at_once: whether there is no time to ask.
    """

    ticket: int
    diagnosis: ExitDiagnosis
    at_once: bool = False


def to_end(
    running: Sequence[Running], *, used_bytes: int, available_bytes: int, budget: Budget
) -> Ending | None:
    """Choose the child that must go because memory runs low; None if all may stay.

    One child alone that takes all processes over the budget is over its cap. Otherwise it is the
    youngest that goes, without blame, as with GNU parallel's `--memfree`: when several children
    are over the budget together, or when the machine has less than half of
    `Budget.min_free_bytes` left.
    """
    if not running or any(one.ending for one in running):
        return None
    youngest = max(one.ticket for one in running)
    if used_bytes > budget.total_bytes:
        if len(running) == 1:
            diagnosis = ExitDiagnosis(
                reason=Reason.OVER_RAM_CAP,
                message=f"All processes together took {mebibytes(used_bytes)} of memory; "
                f"--max-ram allows {mebibytes(budget.total_bytes)}.",
                remedy="Raise --max-ram, or look into the file.",
            )
            at_once = used_bytes > HARD_CAP * budget.total_bytes
            return Ending(ticket=youngest, diagnosis=diagnosis, at_once=at_once)
        return Ending(ticket=youngest, diagnosis=_evicted("the budget was exceeded"))
    if available_bytes < budget.min_free_bytes / 2:
        return Ending(
            ticket=youngest,
            diagnosis=_evicted(f"the machine had only {mebibytes(available_bytes)} left"),
        )
    return None


def _evicted(why: str) -> ExitDiagnosis:
    return ExitDiagnosis(
        reason=Reason.EVICTED,
        message=f"The child was ended because {why}; the track is tried again.",
        remedy="",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """How many children may run at once, after evictions.

    Attributes:
        workers: now.
        most: when all is well.
        changed_at: when it last changed.
        evicted: whether anything was ever evicted.
    """

    workers: int
    most: int
    changed_at: float
    evicted: bool = False

    def after_eviction(self, now: float) -> Throttle:
        """Halve, down to one."""
        return replace(self, workers=max(1, self.workers // 2), changed_at=now, evicted=True)

    def limited(self, workers: int, now: float) -> Throttle:
        """Allow so many for good: the system has no room for more."""
        most = min(self.most, workers)
        return replace(self, workers=most, most=most, changed_at=now, evicted=True)

    def is_settling(self, now: float, timings: Timings) -> bool:
        """Tell whether the last eviction was so recent that its effect does not show yet."""
        return self.evicted and now - self.changed_at < timings.settle

    def is_calm(self, now: float, timings: Timings) -> bool:
        """Tell whether there was no eviction for a while."""
        return not self.evicted or now - self.changed_at >= timings.recover

    def recovered(self, now: float, timings: Timings) -> Throttle:
        """Allow one more when nothing was evicted for a while."""
        if self.workers >= self.most or now - self.changed_at < timings.recover:
            return self
        return replace(self, workers=self.workers + 1, changed_at=now)

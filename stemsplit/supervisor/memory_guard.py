"""Runs in the supervisor. Keeps a pool under its memory budget: samples, waits, evicts, throttles.

Executes what `stemsplit.supervisor.admission` decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.core.outcome import Reason
from stemsplit.supervisor import admission
from stemsplit.supervisor.memory_sampling import MemorySampler
from stemsplit.supervisor.pool_interface import MemorySampled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stemsplit.supervisor.attempt import RunningAttempt
    from stemsplit.supervisor.pool_plan import PoolPlan
    from stemsplit.supervisor.process_tree import Meter


class MemoryGuard:
    """Enforces the memory budget of a pool.

    Args:
        meter: reads the machine.
        plan: concurrency, budget and timings.
        now: monotonic seconds.

    Attributes:
        sampler: samples memory and knows its peak.
    """

    def __init__(self, meter: Meter, plan: PoolPlan, now: float) -> None:
        """Start with all workers."""
        self._budget = plan.budget
        self._timings = plan.timings
        self.sampler = MemorySampler(
            meter,
            plan.timings,
            total_cap_bytes=plan.budget.total_bytes,
            low_bytes=plan.budget.min_free_bytes,
        )
        workers = plan.concurrency.workers
        self._throttle = admission.Throttle(workers=workers, max_workers=workers, changed_at=now)

    def recover(self, now: float) -> None:
        """Allow one worker more if there was no eviction for a while."""
        self._throttle = self._throttle.recovered(now, self._timings)

    def limit_workers(self, workers: int, now: float) -> None:
        """Allow at most `workers` for good: the system starts no more."""
        self._throttle = self._throttle.limited(workers, now)

    def is_full(self, running: Sequence[RunningAttempt], now: float) -> bool:
        """Return whether no further child may run, memory aside."""
        early = self._throttle.is_calm(now, self._timings)
        return admission.is_full(_children(running), self._throttle.workers, early=early)

    def wait_reason(
        self, running: Sequence[RunningAttempt], now: float, *, expected_bytes: int, alone: bool
    ) -> admission.WaitReason | None:
        """See `stemsplit.supervisor.admission.wait_reason`."""
        reading = self.sampler.fresh_exact(now, _caps(running))
        return admission.wait_reason(
            _children(running),
            expected_bytes=expected_bytes,
            alone=alone,
            used_bytes=reading.sample.total.pss_bytes or 0,
            available_bytes=reading.available_bytes,
            budget=self._budget,
        )

    def sample(self, running: Sequence[RunningAttempt], now: float) -> list[MemorySampled]:
        """Sample memory if due, report it to the attempts, and evict a child if memory runs low.

        Returns:
            an event if the sample is exact.
        """
        if not running or self.sampler.seconds_until_due(now) > 0:
            return []
        reading = self.sampler.sample(now, _caps(running))
        trees = reading.sample.trees
        for attempt in running:
            if attempt.child.pid in trees:
                attempt.record_usage(trees[attempt.child.pid], now)
        used_bytes = reading.sample.total.pss_bytes or 0
        termination = admission.choose_termination(
            _children(running),
            used_bytes=used_bytes,
            available_bytes=reading.available_bytes,
            budget=self._budget,
        )
        if termination is not None:
            self._terminate(termination, running, now)
        if not reading.exact:
            return []
        return [
            MemorySampled(
                total_bytes=used_bytes,
                trees={
                    attempt.track.track_task.job.source: trees[attempt.child.pid].pss_bytes or 0
                    for attempt in running
                    if attempt.child.pid in trees
                },
            )
        ]

    def _terminate(
        self, termination: admission.Termination, running: Sequence[RunningAttempt], now: float
    ) -> None:
        if termination.diagnosis.reason is Reason.EVICTED:
            if self._throttle.is_settling(now, self._timings):
                return
            self._throttle = self._throttle.after_eviction(now)
        for attempt in running:
            if attempt.ticket == termination.ticket:
                attempt.terminate(termination.diagnosis, now, at_once=termination.at_once)


def _children(running: Sequence[RunningAttempt]) -> list[admission.RunningChild]:
    return [attempt.as_running_child() for attempt in running]


def _caps(running: Sequence[RunningAttempt]) -> dict[int, int]:
    return {attempt.child.pid: attempt.rules.ram_cap_bytes for attempt in running}

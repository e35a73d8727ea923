"""Runs in the supervisor. The plan of a pool: concurrency, budget, limits and predictions. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.supervisor.attempt_state import Timings
from stemsplit.supervisor.budget import UNKNOWN_LENGTH, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.core.limits import Limits, Resources
    from stemsplit.supervisor.budget import Budget, Concurrency, HostMemory
    from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
    from stemsplit.supervisor.prediction import Forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """The plan of a pool.

    Attributes:
        concurrency: how many children run at once, and the resources of each first attempt.
        budget: memory limits.
        limits: time limits and retries.
        forecast: predicts memory and time of a child.
        timings: intervals and timeouts.
    """

    concurrency: Concurrency
    budget: Budget
    limits: Limits
    forecast: Forecast
    timings: Timings = field(default_factory=Timings)

    def refusal(
        self, resources: Resources, audio_seconds: float, host: Callable[[], HostMemory]
    ) -> ExitDiagnosis | None:
        """Return why a track that is separated as a whole can never fit; None if it can.

        A track that is separated in segments always fits.

        Args:
            resources: resources of its child.
            audio_seconds: length of the track; infinity if unknown.
            host: reads the machine's memory; called only if needed.
        """
        if not self.forecast.workload.is_whole:
            return None
        if audio_seconds == math.inf:
            return UNKNOWN_LENGTH
        return refusal(self.forecast.footprint(resources, audio_seconds), self.budget, host())

    def cap_bytes(self, resources: Resources, audio_seconds: float = 0.0) -> int:
        """Return the memory cap of a child and its descendants."""
        cap = self.budget.per_file_bytes or self.forecast.cap_bytes(resources, audio_seconds)
        return min(cap, self.budget.total_bytes)

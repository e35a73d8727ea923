"""Runs in the supervisor. How a pool goes about its work, decided before it begins. Pure."""

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
    """How a pool goes about its work.

    Attributes:
        concurrency: how many children at once, and how each begins.
        budget: of memory.
        limits: of time, and on retries.
        forecast: predicts what a child takes.
        timings: waiting times.
    """

    concurrency: Concurrency
    budget: Budget
    limits: Limits
    forecast: Forecast
    timings: Timings = field(default_factory=Timings)

    def refusal(
        self, resources: Resources, audio_seconds: float, host: Callable[[], HostMemory]
    ) -> ExitDiagnosis | None:
        """Refuse a track that as a whole can never fit; piece by piece every one does.

        Args:
            resources: how its child would go about it.
            audio_seconds: of the track; infinity if nobody knows.
            host: reads the machine's memory, where that matters.
        """
        if not self.forecast.way.is_whole:
            return None
        if audio_seconds == math.inf:
            return UNKNOWN_LENGTH
        return refusal(self.forecast.footprint(resources, audio_seconds), self.budget, host())

    def cap_bytes(self, resources: Resources, audio_seconds: float = 0.0) -> int:
        """Give the cap on the memory of a child and all that it starts."""
        cap = self.budget.per_file_bytes or self.forecast.cap_bytes(resources, audio_seconds)
        return min(cap, self.budget.total_bytes)

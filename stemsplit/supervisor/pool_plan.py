"""Runs in the supervisor. How a pool goes about its work, decided before it begins. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.supervisor.attempt_state import Timings
from stemsplit.supervisor.budget import UNKNOWN_LENGTH, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.core.limits import Effort, Limits
    from stemsplit.supervisor.budget import Budget, Crew, HostMemory
    from stemsplit.supervisor.exit_diagnosis import Verdict
    from stemsplit.supervisor.prediction import Forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a pool goes about its work.

    Attributes:
        crew: how many children at once, and how each begins.
        budget: of memory.
        limits: of time, and on retries.
        forecast: predicts what a child takes.
        timings: waiting times.
    """

    crew: Crew
    budget: Budget
    limits: Limits
    forecast: Forecast
    timings: Timings = field(default_factory=Timings)

    def refusal(
        self, effort: Effort, audio_seconds: float, host: Callable[[], HostMemory]
    ) -> Verdict | None:
        """Refuse a track that as a whole can never fit; piece by piece every one does.

        Args:
            effort: how its child would go about it.
            audio_seconds: of the track; infinity if nobody knows.
            host: reads the machine's memory, where that matters.
        """
        if not self.forecast.way.is_whole:
            return None
        if audio_seconds == math.inf:
            return UNKNOWN_LENGTH
        return refusal(self.forecast.footprint(effort, audio_seconds), self.budget, host())

    def cap_bytes(self, effort: Effort, audio_seconds: float = 0.0) -> int:
        """Give the cap on the memory of a child and all that it starts."""
        cap = self.budget.per_file_bytes or self.forecast.cap_bytes(effort, audio_seconds)
        return min(cap, self.budget.total_bytes)

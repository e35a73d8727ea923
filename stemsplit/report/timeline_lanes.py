"""Runs in the supervisor. Which line of a timeline each attempt is drawn on. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stemsplit.journal.history import PastAttempt

_OVERLAP_SECONDS = 0.05
"""The supervisor notes an end a moment later than it starts the next child."""


def lanes_of(attempts: Iterable[PastAttempt]) -> dict[int, int]:
    """Give each attempt, by its `id`, the first line of its run that is free when it begins."""
    lanes: dict[int, int] = {}
    free_at: defaultdict[int, list[float]] = defaultdict(list)
    for one in sorted(attempts, key=lambda attempt: (attempt.run, attempt.began)):
        ends = free_at[one.run]
        until = one.began + (math.inf if one.seconds is None else one.seconds)
        for lane, end in enumerate(ends):
            if end <= one.began + _OVERLAP_SECONDS:
                ends[lane], lanes[one.id] = until, lane
                break
        else:
            lanes[one.id] = len(ends)
            ends.append(until)
    return lanes

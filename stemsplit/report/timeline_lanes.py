"""Runs in the supervisor. Assigns the attempts of a run to the lanes of a timeline. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stemsplit.journal.history import PastAttempt

_OVERLAP_SECONDS = 0.05
"""The supervisor records the end of a child slightly after the start of the next one."""


def lanes_of(attempts: Iterable[PastAttempt]) -> dict[int, int]:
    """Return the lane of each attempt by `id`: the first lane of its run that is free."""
    lanes: dict[int, int] = {}
    free_from: defaultdict[int, list[float]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda attempt: (attempt.run, attempt.began)):
        ends = free_from[attempt.run]
        end = attempt.began + (math.inf if attempt.seconds is None else attempt.seconds)
        for lane, previous_end in enumerate(ends):
            if previous_end <= attempt.began + _OVERLAP_SECONDS:
                ends[lane], lanes[attempt.id] = end, lane
                break
        else:
            lanes[attempt.id] = len(ends)
            ends.append(end)
    return lanes

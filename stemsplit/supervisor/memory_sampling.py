"""Runs in the supervisor. How often to look at memory, and how closely.

The memory of a tree is dear to read exactly (`stemsplit.supervisor.process_tree`). So it is read
cheaply and often, the more often the nearer it is to a cap, and exactly when the cheap figure says
that it may have grown by much or may be over a cap; and now and then in any case, because pages
that are written to stop being shared without the cheap figure's showing it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stemsplit.supervisor.attempt_state import Timings
    from stemsplit.supervisor.process_tree import Meter, Sample, Usage

_MEBIBYTE = 2**20

GROWTH_BYTES_A_SECOND = 1024 * _MEBIBYTE
"""How quickly a tree is thought to be able to grow: a page at a time, written to once."""

_MUCH_BYTES = 128 * _MEBIBYTE
_LITTLE_BYTES = 4 * _MEBIBYTE
_EXACT_SECONDS = 5.0
_EXACT_SECONDS_NEAR = 3.0
_NEAR_BYTES = 512 * _MEBIBYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """A look at memory.

    Attributes:
        sample: what was read.
        exact: whether it was read exactly.
        at: when.
        available_bytes: of the machine.
    """

    sample: Sample
    exact: bool
    at: float
    available_bytes: int


class MemorySampler:
    """Decides when to look again, and looks.

    Args:
        meter: reads the machine.
        timings: how often at the most and at the least.
        total_cap_bytes: of all processes together.
        low_bytes: of the machine's memory: less available than this is low.

    Attributes:
        peak_bytes: the largest exact total, None before the first.
    """

    def __init__(
        self, meter: Meter, timings: Timings, *, total_cap_bytes: int, low_bytes: int
    ) -> None:
        """Look at nothing yet."""
        self._meter = meter
        self._timings = timings
        self._total_cap = total_cap_bytes
        self._low = low_bytes
        self._next = 0.0
        self._exact: MemoryReading | None = None
        self._highest: dict[int, int] = {}  # RSS of each tree at any exact look
        self._previous: dict[int, int] = {}  # and at the last look
        self.peak_bytes: int | None = None

    def seconds_left(self, now: float) -> float:
        """Give the time until the next look is due."""
        return max(0.0, self._next - now)

    def look(self, now: float, caps: Mapping[int, int], *, exactly: bool = False) -> MemoryReading:
        """Look now.

        Args:
            now: the time.
            caps: in bytes, of the tree below each process.
            exactly: whether the exact figures are wanted in any case.
        """
        roots = list(caps)
        available = self._meter.host_memory().available_bytes
        exact = exactly or self._is_time_for_exact(now, caps)
        sample = self._meter.sample(roots, exact=exact)
        if not exact and self._wants_exact(sample, caps):
            exact = True
            sample = self._meter.sample(roots, exact=True)
        look = MemoryReading(sample=sample, exact=exact, at=now, available_bytes=available)
        if exact:
            self._exact = look
            self._previous = {root: tree.rss_bytes for root, tree in sample.trees.items()}
            self._highest = {
                root: max(tree.rss_bytes, self._highest.get(root, 0))
                for root, tree in sample.trees.items()
            }
            self.peak_bytes = max(self.peak_bytes or 0, sample.total.pss_bytes or 0)
        self._next = now + self._pause(look, caps)
        return look

    def last_exact(self, now: float, caps: Mapping[int, int]) -> MemoryReading:
        """Give the last exact look if it is fresh and of these trees, else a new one."""
        last = self._exact
        if (
            last is not None
            and now - last.at < self._timings.poll
            and caps.keys() <= last.sample.trees.keys()
        ):
            return last
        return self.look(now, caps, exactly=True)

    def _is_time_for_exact(self, now: float, caps: Mapping[int, int]) -> bool:
        """Tell whether the last exact look is too old."""
        last = self._exact
        if last is None:
            return True
        near = self._headroom(last.sample, caps) < _NEAR_BYTES
        return now - last.at >= (_EXACT_SECONDS_NEAR if near else _EXACT_SECONDS)

    def _wants_exact(self, sample: Sample, caps: Mapping[int, int]) -> bool:
        """Tell whether a cheap look shows what must be known better."""
        if self._exact is None or self._headroom(sample, caps) <= 0:
            return True
        return any(self._has_grown(root, tree.rss_bytes) for root, tree in sample.trees.items())

    def _has_grown(self, root: int, rss_bytes: int) -> bool:
        """Tell a tree that has grown and come to rest, or has grown by much."""
        growth = rss_bytes - self._highest.get(root, 0)
        moved = abs(rss_bytes - self._previous.get(root, 0))
        self._previous[root] = rss_bytes
        return growth > _MUCH_BYTES or (growth > _LITTLE_BYTES and moved < _LITTLE_BYTES)

    def _headroom(self, sample: Sample, caps: Mapping[int, int]) -> int:
        """Bound what may still be taken before a cap is met."""
        last = self._exact.sample if self._exact is not None else None
        rooms = [self._total_cap - _bound(sample.total, last.total if last else None)]
        for root, tree in sample.trees.items():
            if root in caps:
                before = last.trees.get(root) if last else None
                rooms.append(caps[root] - _bound(tree, before))
        return min(rooms)

    def _pause(self, look: MemoryReading, caps: Mapping[int, int]) -> float:
        room = min(self._headroom(look.sample, caps), look.available_bytes - self._low)
        pause = room / GROWTH_BYTES_A_SECOND
        return min(max(pause, self._timings.poll_fastest), self._timings.poll)


def _bound(now: Usage, last: Usage | None) -> int:
    """Bound the memory of a tree: exact where it was read, else grown as much as its RSS has."""
    if now.pss_bytes is not None:
        return now.pss_bytes
    if last is None or last.pss_bytes is None:
        return now.rss_bytes
    return min(now.rss_bytes, last.pss_bytes + max(0, now.rss_bytes - last.rss_bytes))

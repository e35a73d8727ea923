"""Runs in the supervisor. Decides when to sample memory, and whether exactly.

The exact memory of a tree is expensive to read (`stemsplit.supervisor.process_tree`). Cheap samples
are therefore frequent, and more frequent the closer memory is to a cap. An exact sample follows
when a cheap one shows that memory may have grown by much or may exceed a cap, and every few seconds
in any case, because shared pages become private when they are written without RSS showing it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stemsplit.supervisor.attempt_state import Timings
    from stemsplit.supervisor.process_tree import Meter, Sample, Usage

_MEBIBYTE = 2**20

GROWTH_BYTES_PER_SECOND = 1024 * _MEBIBYTE
"""Assumed fastest growth of a tree that writes once to each page."""

_LARGE_GROWTH_BYTES = 128 * _MEBIBYTE
_SMALL_GROWTH_BYTES = 4 * _MEBIBYTE
_EXACT_SECONDS = 5.0
_EXACT_SECONDS_NEAR_CAP = 3.0
_NEAR_CAP_BYTES = 512 * _MEBIBYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """Memory at one moment.

    Attributes:
        sample: usage of the process trees.
        exact: whether `sample` has PSS and USS.
        at: when it was read.
        available_bytes: available memory of the machine.
    """

    sample: Sample
    exact: bool
    at: float
    available_bytes: int


class MemorySampler:
    """Samples memory when it is due.

    Args:
        meter: reads the machine.
        timings: shortest and longest interval between samples.
        total_cap_bytes: cap of all processes together.
        low_bytes: less available memory than this counts as low.

    Attributes:
        peak_bytes: largest exact total; None before the first exact sample.
    """

    def __init__(
        self, meter: Meter, timings: Timings, *, total_cap_bytes: int, low_bytes: int
    ) -> None:
        """Start without a sample."""
        self._meter = meter
        self._timings = timings
        self._total_cap_bytes = total_cap_bytes
        self._low_bytes = low_bytes
        self._next_at = 0.0
        self._last_exact: MemoryReading | None = None
        self._highest_rss: dict[int, int] = {}  # of each tree, in exact samples
        self._previous_rss: dict[int, int] = {}  # of each tree, in the last sample
        self.peak_bytes: int | None = None

    def seconds_until_due(self, now: float) -> float:
        """Return the time until the next sample is due."""
        return max(0.0, self._next_at - now)

    def sample(self, now: float, caps: Mapping[int, int], *, exact: bool = False) -> MemoryReading:
        """Sample memory now.

        Args:
            now: the time.
            caps: cap in bytes of the tree below each PID.
            exact: whether the sample must be exact.
        """
        roots = list(caps)
        available = self._meter.host_memory().available_bytes
        exact = exact or self._is_exact_due(now, caps)
        sample = self._meter.sample(roots, exact=exact)
        if not exact and self._needs_exact(sample, caps):
            exact = True
            sample = self._meter.sample(roots, exact=True)
        reading = MemoryReading(sample=sample, exact=exact, at=now, available_bytes=available)
        if exact:
            self._last_exact = reading
            self._previous_rss = {root: tree.rss_bytes for root, tree in sample.trees.items()}
            self._highest_rss = {
                root: max(rss, self._highest_rss.get(root, 0))
                for root, rss in self._previous_rss.items()
            }
            self.peak_bytes = max(self.peak_bytes or 0, sample.total.pss_bytes or 0)
        self._next_at = now + self._pause(reading, caps)
        return reading

    def fresh_exact(self, now: float, caps: Mapping[int, int]) -> MemoryReading:
        """Return the last exact reading if it is recent and has these trees, else a new one."""
        last = self._last_exact
        if (
            last is not None
            and now - last.at < self._timings.poll
            and caps.keys() <= last.sample.trees.keys()
        ):
            return last
        return self.sample(now, caps, exact=True)

    def _is_exact_due(self, now: float, caps: Mapping[int, int]) -> bool:
        last = self._last_exact
        if last is None:
            return True
        is_near_cap = self._headroom(last.sample, caps) < _NEAR_CAP_BYTES
        return now - last.at >= (_EXACT_SECONDS_NEAR_CAP if is_near_cap else _EXACT_SECONDS)

    def _needs_exact(self, sample: Sample, caps: Mapping[int, int]) -> bool:
        """Return whether a cheap sample may hide an exceeded cap or a new peak."""
        if self._last_exact is None or self._headroom(sample, caps) <= 0:
            return True
        return any(self._has_grown(root, tree.rss_bytes) for root, tree in sample.trees.items())

    def _has_grown(self, root: int, rss_bytes: int) -> bool:
        """Return whether a tree has grown by much, or by a little and has stopped growing."""
        growth = rss_bytes - self._highest_rss.get(root, 0)
        change = abs(rss_bytes - self._previous_rss.get(root, 0))
        self._previous_rss[root] = rss_bytes
        if growth > _LARGE_GROWTH_BYTES:
            return True
        return growth > _SMALL_GROWTH_BYTES and change < _SMALL_GROWTH_BYTES

    def _headroom(self, sample: Sample, caps: Mapping[int, int]) -> int:
        """Return a lower bound of the bytes left before a cap is exceeded."""
        last = self._last_exact.sample if self._last_exact is not None else None
        rooms = [self._total_cap_bytes - _upper_bound(sample.total, last.total if last else None)]
        for root, tree in sample.trees.items():
            if root in caps:
                before = last.trees.get(root) if last else None
                rooms.append(caps[root] - _upper_bound(tree, before))
        return min(rooms)

    def _pause(self, reading: MemoryReading, caps: Mapping[int, int]) -> float:
        available = reading.available_bytes - self._low_bytes
        room = min(self._headroom(reading.sample, caps), available)
        pause = room / GROWTH_BYTES_PER_SECOND
        return min(max(pause, self._timings.poll_fastest), self._timings.poll)


def _upper_bound(now: Usage, last: Usage | None) -> int:
    """Return the memory of a tree, or a bound: the last exact value plus the growth of RSS."""
    if now.pss_bytes is not None:
        return now.pss_bytes
    if last is None or last.pss_bytes is None:
        return now.rss_bytes
    return min(now.rss_bytes, last.pss_bytes + max(0, now.rss_bytes - last.rss_bytes))

"""Runs in the child. Computes the expected length of each of several joined files."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemsplit.audio.containers.parts import Part
    from stemsplit.audio.readers.base import Reader

_MAX_GAP_SECONDS = 3600
"""A longer gap between parts is a clock that was set, not a loss."""

_MAX_LOST_START_SECONDS = 30
"""A stream that starts later on its clock was not recorded from its beginning."""


class ExpectedLength:
    """The expected length of one of the joined files.

    Args:
        part: its first part.
        start: the frame at which it starts.
        rate: of frames, in Hz.
        max_frames: the most frames there can be; a header that declares more is ignored.

    Attributes:
        is_cut_off: whether an unknown amount of its end is missing.
    """

    def __init__(self, part: Part, start: int, rate: int, max_frames: int) -> None:
        self._start, self._rate = start, rate
        declared = (part.declared_seconds or 0.0) * rate
        self._declared = round(declared) if declared <= max_frames else 0
        self._tolerance = round(part.tolerance_seconds * rate)
        self._expected = 0
        self._delay = 0
        self._clock_start: Fraction | None = None
        self.is_cut_off = False

    def frames_lost_before(self, part: Part, reader: Reader, at: int) -> int:
        """Return how many frames are lost before a part, if the previous one ends at frame `at`."""
        if part.end_timestamp is None or reader.info.frames is None:
            is_loss = part.lost_seconds <= _MAX_GAP_SECONDS
            return round(part.lost_seconds * self._rate) if is_loss else 0
        timestamp = part.end_timestamp - Fraction(reader.info.frames, reader.info.sample_rate)
        if self._clock_start is None:
            is_damage = part.is_start_missing and timestamp <= _MAX_LOST_START_SECONDS
            self._clock_start = Fraction() if is_damage else timestamp
        lost = round((timestamp - self._clock_start) * self._rate) - (at - self._start)
        return lost if 0 < lost <= _MAX_GAP_SECONDS * self._rate else 0

    def add_unreadable(self, part: Part) -> None:
        """Add a part that could not be opened."""
        self._expected += round((part.counted_seconds or 0) * self._rate)

    def add(self, part: Part, reader: Reader, start: int, end: int) -> None:
        """Add a part that was read from the frame `start` to the frame `end`."""
        self.is_cut_off = self.is_cut_off or part.is_cut_off
        self._delay = round(reader.delay_seconds * self._rate)
        if part.counted_seconds is None and reader.info.seconds is not None:
            expected_end = start + int(reader.info.seconds * self._rate)
            if expected_end - end > reader.tolerance_seconds * self._rate:
                self._expected = max(self._expected, expected_end - self._start)

    def missing_frames(self, end: int) -> int:
        """Return how many frames are missing if the file ends at the frame `end`."""
        length = end - self._start
        declared = self._declared - (self._delay if self._tolerance else 0)
        if declared - length > self._tolerance:
            return max(declared, self._expected) - length
        return self._expected - length

"""Runs in the child. Places decoded frames in time by their timestamps. Pure.

Timestamps are coarse (Matroska counts milliseconds), drift (live recordings) and lie (a capture
that was restarted). A single timestamp therefore moves nothing: silence is inserted only where the
pause before a frame is most of its length and the total delay is long enough to be heard.
"""

from __future__ import annotations

_MIN_PAUSE_FRAMES = 0.75
"""In frames of the codec."""

_MIN_LATE_SECONDS = 0.05
_MIN_RESTART_SECONDS = 1.0


class Timeline:
    """Tracks the position of one stream.

    Args:
        rate: in Hz.
        max_gap: in samples; a longer gap starts a new timeline and is not a pause.
        end: the latest sample at which the stream can end, by its own clock.

    Attributes:
        position: the next sample.
        jump: samples by which the last timestamp jumped forward and started a new timeline; 0 if
            it did not.
    """

    def __init__(self, rate: int, *, max_gap: float, end: int) -> None:
        self._min_late = round(_MIN_LATE_SECONDS * rate)
        self._min_restart = round(_MIN_RESTART_SECONDS * rate)
        self._max_gap = max_gap
        self._end = end
        self.position = 0
        self._shift = 0
        self._expected_timestamp: int | None = None
        self.jump = 0

    def add_frame(self, timestamp: int | None, samples: int) -> int:
        """Add a frame; return how many samples of silence must precede it.

        Args:
            timestamp: of its first sample, in samples; None if the container has none.
            samples: length of the frame.
        """
        self.jump = 0
        gap = 0 if timestamp is None else self._gap_before(timestamp, samples)
        if timestamp is not None:
            self._expected_timestamp = timestamp
        self.position += gap
        self.advance(samples)
        return gap

    def advance(self, samples: int) -> None:
        """Move on by the samples of a frame, or by silence in place of a damaged packet."""
        self.position += samples
        if self._expected_timestamp is not None:
            self._expected_timestamp += samples

    def _gap_before(self, timestamp: int, samples: int) -> int:
        late = timestamp + self._shift - self.position
        expected = self._expected_timestamp
        pause = late if expected is None else timestamp - expected
        if pause < -self._min_restart:  # the clock was set back
            self._shift = self.position - timestamp
            return 0
        if pause < _MIN_PAUSE_FRAMES * samples or late < self._min_late:
            return 0
        if late > self._max_gap or timestamp > self._end:
            self._shift = self.position - timestamp
            self.jump = late
            return 0
        return late

"""Runs in both. Where decoded frames belong by their timestamps. Pure.

Timestamps are coarse (Matroska counts milliseconds), wander (live recordings) and lie (a capture
that was restarted). So a single one moves nothing: silence is put in where the sound pauses for the
better part of a frame and is late in all by more than anybody hears as a mistake of timing.
"""

from __future__ import annotations

_LEAST_PAUSE_FRAMES = 0.75
"""In frames of the codec."""

_LEAST_LATENESS_SECONDS = 0.05
_LEAST_RESTART_SECONDS = 1.0


class Timeline:
    """Follows the frames of one stream.

    Args:
        rate: in Hz.
        longest_gap: in samples; a longer one is another timeline and no pause.
        end: the sample at which the stream ends at the latest, by its own clock.

    Attributes:
        jumped: by how many samples the last timestamp began another timeline forward; else 0.
    """

    def __init__(self, rate: int, *, longest_gap: float, end: int) -> None:
        """Begin at sample 0."""
        self._least_lateness = round(_LEAST_LATENESS_SECONDS * rate)
        self._least_restart = round(_LEAST_RESTART_SECONDS * rate)
        self._longest_gap = longest_gap
        self._end = end
        self._position = 0
        self._shift = 0
        self._next: int | None = None
        self.jumped = 0

    @property
    def position(self) -> int:
        """The sample that comes next."""
        return self._position

    def gap_before(self, timestamp: int | None, samples: int) -> int:
        """Return how many samples of silence belong before a frame, and take the frame.

        Args:
            timestamp: of its first sample; None where the container does not say.
            samples: of the frame.
        """
        self.jumped = 0
        gap = 0 if timestamp is None else self._gap(timestamp, samples)
        if timestamp is not None:
            self._next = timestamp
        self._position += gap + samples
        if self._next is not None:
            self._next += samples
        return gap

    def take_silence(self, samples: int) -> None:
        """Take silence that stands for a packet which could not be decoded."""
        self._position += samples
        if self._next is not None:
            self._next += samples

    def _gap(self, timestamp: int, samples: int) -> int:
        late = timestamp + self._shift - self._position
        pause = late if self._next is None else timestamp - self._next
        if pause < -self._least_restart:  # the clock was set back
            self._shift = self._position - timestamp
            return 0
        if pause < _LEAST_PAUSE_FRAMES * samples or late < self._least_lateness:
            return 0
        if late > self._longest_gap or timestamp > self._end:
            self._shift = self._position - timestamp
            self.jumped = late
            return 0
        return late

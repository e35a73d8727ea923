"""Runs in both. What of an audio file is missing, or was replaced by silence."""

from __future__ import annotations

from dataclasses import dataclass

TOLERATED_SHARE = 0.05
"""A file that lost more than this share of its music is damaged; below, a warning is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a reader could not decode.

    Attributes:
        expected_seconds: how long the file should be: the most that its header, its timestamps and
            its bytes say. More than 0.
        lost_seconds: how much of that is missing or was replaced by silence. More than 0.
        text: one sentence with the file's name, the figure and the place.
    """

    expected_seconds: float
    lost_seconds: float
    text: str

    @property
    def share(self) -> float:
        """The share of the file that is lost, 0 to 1."""
        return min(self.lost_seconds / self.expected_seconds, 1.0)

    @property
    def is_tolerable(self) -> bool:
        """Whether a warning is enough."""
        return self.share <= TOLERATED_SHARE

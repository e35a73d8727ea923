"""Runs in the child. Describes which parts of an audio file are missing or were replaced. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

TOLERATED_SHARE = 0.05
"""Largest share of a file that may be lost; a file that lost more is damaged."""

NEGLIGIBLE_SECONDS = 0.05
"""A total loss shorter than this is not reported."""


class Gap(NamedTuple):
    """A lost part of a file: its first frame and its length in frames."""

    start: int
    frames: int


def add_gap(gaps: list[Gap], start: int, frames: int) -> None:
    """Add a gap; merge it with the last one if that ends where it starts. Ignore an empty gap."""
    if not frames:
        return
    if gaps and sum(gaps[-1]) == start:
        start, before = gaps.pop()
        frames += before
    gaps.append(Gap(start, frames))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Audio that a reader could not decode.

    Attributes:
        expected_seconds: duration that the file should have: the longest that its header, its
            timestamps and its size imply. More than 0.
        lost_seconds: duration that is missing or was replaced with silence; 0 if the end is
            missing and its length is unknown.
        text: one sentence with the name of the file, the duration and the position.
    """

    expected_seconds: float
    lost_seconds: float
    text: str

    @property
    def share(self) -> float:
        """Share of the file that is lost, 0 to 1."""
        return min(self.lost_seconds / self.expected_seconds, 1.0)

    @property
    def is_tolerable(self) -> bool:
        """Whether the loss deserves a warning and not an error."""
        return self.share <= TOLERATED_SHARE


def loss_of(
    name: str,
    *,
    rate: int,
    frames: int,
    silences: Sequence[Gap],
    missing: Sequence[Gap],
    is_cut_off: bool,
) -> Loss | None:
    """Summarise what was lost of a file, or of a part of it.

    Args:
        name: name of the file.
        rate: sample rate in Hz.
        frames: number of decoded frames, including silence.
        silences: gaps that were filled with silence.
        missing: gaps that were not filled, such as the missing end of a file.
        is_cut_off: whether an unknown amount of the end is missing.

    Returns:
        the loss; None if it is negligible.
    """
    silent = sum(gap.frames for gap in silences) / rate
    absent = sum(gap.frames for gap in missing) / rate
    expected = frames / rate + absent
    parts = []
    if silent >= NEGLIGIBLE_SECONDS or silent + absent >= NEGLIGIBLE_SECONDS > absent:
        where = f"at {position(silences[0].start / rate)}"
        if len(silences) > 1:
            where = f"in {len(silences)} places, the first {where}"
        parts.append(f"{_duration(silent, expected)} missing {where}")
    if absent >= NEGLIGIBLE_SECONDS:
        start = missing[0].start
        is_end = len(missing) == 1 and start >= frames
        where = "at the end" if is_end else f"at {position(start / rate)}"
        parts.append(f"{_duration(absent, expected)} missing {where}")
    if is_cut_off:
        parts.append(f"cut off at {position(frames / rate)}, how much is missing is unknown")
    if not parts:
        return None
    return Loss(
        expected_seconds=max(expected, 1 / rate),
        lost_seconds=silent + absent,
        text=f"{quoted(name)} is damaged: {'; '.join(parts)}.",
    )


def _duration(lost: float, expected: float) -> str:
    return f"{lost:.2f} s of {expected:.2f} s ({lost / max(expected, 1e-9):.0%}) is"


def position(seconds: float) -> str:
    """Return `0:04.00` for 4 seconds and `1:02:05.50` for 3,725.5."""
    minutes, rest = divmod(round(seconds, 2), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{minutes:02}:{rest:05.2f}" if hours else f"{minutes}:{rest:05.2f}"
    return f"{hours}:{text}" if hours else text

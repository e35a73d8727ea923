"""Runs in both. What of an audio file is missing, or was replaced by silence. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

TOLERATED_SHARE = 0.05
"""A file that lost more than this share of its music is damaged; below, a warning is enough."""

UNNOTICED_SECONDS = 0.05
"""Nothing is said of a loss that is smaller in all."""


class Silence(NamedTuple):
    """Silence in the place of what was lost: its first frame, and how many there are."""

    at: int
    frames: int


def note_silence(silences: list[Silence], at: int, frames: int) -> None:
    """Add silence to a list, as one with what it follows directly; none if it has no frames."""
    if not frames:
        return
    if silences and sum(silences[-1]) == at:
        at, before = silences.pop()
        frames += before
    silences.append(Silence(at, frames))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a reader could not decode.

    Attributes:
        expected_seconds: how long the file should be: the most that its header, its timestamps and
            its bytes say. More than 0.
        lost_seconds: how much of that is missing or was replaced by silence; 0 where the end is
            missing and there is no telling how much.
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


def loss_of(
    name: str,
    *,
    rate: int,
    frames: int,
    silences: Sequence[Silence],
    missing: Sequence[Silence],
    has_open_end: bool,
) -> Loss | None:
    """Sum up what was lost of a file, or of a stretch of it.

    Args:
        name: of the file.
        rate: in Hz.
        frames: how many there are, silence included.
        silences: in the place of what was lost.
        missing: where a file ends before it should, and how many frames later that would be.
        has_open_end: whether a file ends before it should, and there is no telling how much later.

    Returns:
        the loss; None if there is none to speak of.
    """
    silent = sum(one.frames for one in silences) / rate
    gone = sum(one.frames for one in missing) / rate
    expected = frames / rate + gone
    said = []
    if silent >= UNNOTICED_SECONDS or silent + gone >= UNNOTICED_SECONDS > gone:
        where = f"at {position(silences[0].at / rate)}"
        if len(silences) > 1:
            where = f"in {len(silences)} places, the first {where}"
        said.append(f"{_figure(silent, expected)} missing {where}")
    if gone >= UNNOTICED_SECONDS:
        at = missing[0].at / rate
        is_end = len(missing) == 1 and missing[0].at >= frames
        where = "at the end" if is_end else f"at {position(at)}"
        said.append(f"{_figure(gone, expected)} missing {where}")
    if has_open_end:
        said.append(f"cut off at {position(frames / rate)}, how much is missing is unknown")
    if not said:
        return None
    return Loss(
        expected_seconds=max(expected, 1 / rate),
        lost_seconds=silent + gone,
        text=f"{quoted(name)} is damaged: {'; '.join(said)}.",
    )


def _figure(lost: float, expected: float) -> str:
    return f"{lost:.2f} s of {expected:.2f} s ({lost / max(expected, 1e-9):.0%}) is"


def position(seconds: float) -> str:
    """Return `0:04.00` for 4 seconds and `1:02:05.50` for 3,725.5."""
    minutes, rest = divmod(round(seconds, 2), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{minutes:02}:{rest:05.2f}" if hours else f"{minutes}:{rest:05.2f}"
    return f"{hours}:{text}" if hours else text

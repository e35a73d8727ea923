"""Runs in both. The largest values of something that goes on for long, in a bounded room. Pure.

Memory over the hours of a batch, the level of a song of any length: what is drawn a few hundred
points wide need not be kept any finer.
"""

from __future__ import annotations

from typing import Annotated

import msgspec


class TimeSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Largest values, one for each step.

    Attributes:
        step: width of each, in seconds or in frames.
        values: in order, the first beginning at 0; None where nothing was measured.
    """

    step: Annotated[float, msgspec.Meta(gt=0, le=1e11)]
    values: tuple[Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)] | None, ...]


class TimeSeriesRecorder:
    """Keeps the largest value of each step; when there are too many steps, two become one.

    Args:
        step: the width to begin with, more than 0.
        most: so many steps are kept at the most, an even number.
    """

    def __init__(self, step: float, most: int) -> None:
        """Begin with nothing."""
        self._values: list[float | None] = []
        self._most = most
        self.step = step

    def add(self, position: float, value: float) -> None:
        """Take in a value at a position of 0 or more, in any order."""
        while position >= self._most * self.step:
            halves = [*self._values, None] if len(self._values) % 2 else self._values
            pairs = zip(halves[::2], halves[1::2], strict=True)
            self._values = [_larger(one, other) for one, other in pairs]
            self.step *= 2
        index = int(position / self.step)
        self._values += [None] * (index + 1 - len(self._values))
        self._values[index] = _larger(self._values[index], value)

    def curve(self) -> TimeSeries:
        """Give what was kept."""
        return TimeSeries(step=self.step, values=tuple(self._values))


def _larger(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return max(other, one)

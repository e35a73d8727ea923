"""Runs in both. Time series of maxima in bounded memory, for graphs. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec


class TimeSeries(msgspec.Struct, frozen=True, kw_only=True):
    """The maximum of each step.

    Attributes:
        step: width of a step, in seconds or frames.
        values: one maximum per step from position 0; None for a step without a value.
    """

    step: Annotated[float, msgspec.Meta(gt=0, le=1e11)]
    values: tuple[Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)] | None, ...]


class TimeSeriesRecorder:
    """Records the maximum of each step; doubles the step when there are too many.

    Args:
        step: initial width of a step, more than 0.
        most: largest number of steps, an even number.
    """

    def __init__(self, step: float, most: int) -> None:
        self._values: list[float | None] = []
        self._most = most
        self.step = step

    def add(self, position: float, value: float) -> None:
        """Add a value at a position of 0 or more. Positions may come in any order."""
        while position >= self._most * self.step:
            halves = [*self._values, None] if len(self._values) % 2 else self._values
            pairs = zip(halves[::2], halves[1::2], strict=True)
            self._values = [_larger(one, other) for one, other in pairs]
            self.step *= 2
        index = int(position / self.step)
        self._values += [None] * (index + 1 - len(self._values))
        self._values[index] = _larger(self._values[index], value)

    def series(self) -> TimeSeries:
        """Return the values recorded so far."""
        return TimeSeries(step=self.step, values=tuple(self._values))


def _larger(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return max(other, one)

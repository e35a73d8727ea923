"""Runs in the child. Converts audio whose sample rate or channels change within a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stemsplit.audio.channels import conversion_matrix
from stemsplit.audio.data_loss import position
from stemsplit.audio.resample import RateConverter
from stemsplit.core.format_rates import frames_at
from stemsplit.core.text import counted, quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_NOTES = 3
"""Notes about changes in one file; further changes are not mentioned."""


class StreamFormat(NamedTuple):
    """The sample rate in Hz and the name of each channel."""

    sample_rate: int
    channels: tuple[str, ...]

    def __str__(self) -> str:
        """Return `2 channels at 44100 Hz`."""
        return f"{counted(len(self.channels), 'channel')} at {self.sample_rate} Hz"


def format_change_note(
    name: str, before: StreamFormat, after: StreamFormat, at_seconds: float
) -> str:
    """Return a note that the file `name` changes its format, and when."""
    return (
        f"{quoted(name)} changes from {before} to {after} at {position(at_seconds)}; the rest was "
        "converted."
    )


class FormatConverter:
    """Converts one stream of samples to another sample rate and other channels.

    Args:
        source: format of the samples pushed.
        target: format of the samples returned.
    """

    def __init__(self, source: StreamFormat, target: StreamFormat) -> None:
        self._rates = source.sample_rate, target.sample_rate
        self._gains = conversion_matrix(source.channels, target.channels)
        self._converter = RateConverter(*self._rates, len(target.channels))
        self._pushed = 0

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert `(frames, channels)` float32; return the frames that are ready, perhaps none."""
        self._pushed += len(samples)
        return self._converter.push(np.ascontiguousarray(samples @ self._gains))

    def finish(self) -> NDArray[np.float32]:
        """Return the rest of the stream."""
        return self._converter.finish(frames_at(self._pushed, *self._rates))

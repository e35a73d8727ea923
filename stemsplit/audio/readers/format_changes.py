"""Runs in both. Sound whose form changes on its way, or in a file that was joined to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.channels import gains_between
from stemsplit.audio.data_loss import position
from stemsplit.audio.resample import RateConverter
from stemsplit.core.formats import frames_at
from stemsplit.core.text import counted, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


Form = tuple[int, tuple[str, ...]]
"""A sample rate in Hz, and the name of each channel."""


def change_of(name: str, before: Form, after: Form, at_seconds: float) -> str:
    """Say that a file changes its form, and when."""
    return (
        f"{quoted(name)} changes from {_named(before)} to {_named(after)} at "
        f"{position(at_seconds)}; what follows was converted."
    )


def _named(form: Form) -> str:
    rate, channels = form
    return f"{counted(len(channels), 'channel')} at {rate} Hz"


class Adapter:
    """Converts one stream of samples to another rate and arrangement of channels.

    Args:
        rate: of what is pushed, in Hz.
        channels: the name of each.
        target_rate: of what is returned, in Hz.
        target_channels: the name of each.
    """

    def __init__(
        self,
        rate: int,
        channels: Sequence[str],
        target_rate: int,
        target_channels: Sequence[str],
    ) -> None:
        """Begin a stream."""
        self._rates = rate, target_rate
        self._gains = gains_between(channels, target_channels)
        self._converter = RateConverter(rate, target_rate, len(target_channels))
        self._pushed = 0

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take `(frames, channels)` float32 and return what is ready, which may be nothing yet."""
        self._pushed += len(samples)
        return self._converter.push(np.ascontiguousarray(samples @ self._gains))

    def finish(self) -> NDArray[np.float32]:
        """Return the rest of the stream."""
        return self._converter.finish(frames_at(self._pushed, *self._rates))

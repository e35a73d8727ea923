"""Runs in both. Streams of samples to another sample rate, by soxr."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soxr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

QUALITY = "VHQ"
"""soxr's "very high quality": 28 bits, pass band to 0.913 of the lower rate's Nyquist frequency."""


class RateConverter:
    """Converts one stream.

    Args:
        source_rate: of the blocks, in Hz.
        target_rate: wanted, in Hz; blocks pass unchanged where the rates agree.
        channels: of every block.
    """

    def __init__(self, source_rate: int, target_rate: int, channels: int) -> None:
        """Begin a stream."""
        self._channels = channels
        self._given = 0
        self._stream = (
            None
            if source_rate == target_rate
            else soxr.ResampleStream(
                source_rate, target_rate, channels, dtype="float32", quality=QUALITY
            )
        )

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take `(frames, channels)` float32 and give what is ready, which may be nothing yet."""
        if self._stream is not None:
            block = self._stream.resample_chunk(np.ascontiguousarray(block))
        self._given += len(block)
        return block

    def finish(self, frames: int) -> NDArray[np.float32]:
        """Give the rest of the stream.

        The converter rounds the length in its own way; what it keeps back until the end is more
        than it may be wrong by, so that the end can be made right.

        Args:
            frames: how many there must have been in all.
        """
        rest = np.empty((0, self._channels), np.float32)
        if self._stream is not None:
            rest = self._stream.resample_chunk(rest, last=True)
        wanted = max(frames - self._given, 0)
        if len(rest) < wanted:
            rest = np.pad(rest, ((0, wanted - len(rest)), (0, 0)))
        self._given += wanted
        return rest[:wanted]


def resample(
    blocks: Iterable[NDArray[np.float32]],
    converter: RateConverter,
    frames: Callable[[], int],
) -> Iterator[NDArray[np.float32]]:
    """Convert the sample rate of a stream.

    Args:
        blocks: `(frames, channels)` float32.
        converter: does it.
        frames: is asked at the end how many there must be.

    Yields:
        `(frames, channels)` float32, none of them empty.
    """
    for block in blocks:
        converted = converter.push(block)
        if len(converted):
            yield converted
    rest = converter.finish(frames())
    if len(rest):
        yield rest

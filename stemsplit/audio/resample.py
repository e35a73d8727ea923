"""Runs in the child. Converts streams of samples to another sample rate, with soxr."""

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
        source_rate: sample rate of the blocks, in Hz.
        target_rate: sample rate to convert to, in Hz; equal rates pass blocks through unchanged.
        channels: number of channels of every block.
    """

    def __init__(self, source_rate: int, target_rate: int, channels: int) -> None:
        self._channels = channels
        self._frames = 0
        self._stream = (
            None
            if source_rate == target_rate
            else soxr.ResampleStream(
                source_rate, target_rate, channels, dtype="float32", quality=QUALITY
            )
        )

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert `(frames, channels)` float32; return what is ready, possibly no frames."""
        if self._stream is not None:
            block = self._stream.resample_chunk(np.ascontiguousarray(block))
        self._frames += len(block)
        return block

    def finish(self, frames: int) -> NDArray[np.float32]:
        """Return the rest of the stream, so that its length is exact.

        soxr rounds the length differently, but buffers more frames than the difference, so that the
        end can be corrected. `frames` is the total length of the converted stream.
        """
        rest = np.empty((0, self._channels), np.float32)
        if self._stream is not None:
            rest = self._stream.resample_chunk(rest, last=True)
        missing = max(frames - self._frames, 0)
        if len(rest) < missing:
            rest = np.pad(rest, ((0, missing - len(rest)), (0, 0)))
        self._frames += missing
        return rest[:missing]


def resample(
    blocks: Iterable[NDArray[np.float32]], converter: RateConverter, frames: Callable[[], int]
) -> Iterator[NDArray[np.float32]]:
    """Convert the sample rate of a stream.

    Args:
        blocks: `(frames, channels)` float32.
        converter: the converter of this stream.
        frames: returns the total number of converted frames; called after the last block.

    Yields:
        `(frames, channels)` float32, at least one frame each.
    """
    for block in blocks:
        converted = converter.push(block)
        if len(converted):
            yield converted
    rest = converter.finish(frames())
    if len(rest):
        yield rest

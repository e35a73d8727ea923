"""Runs in both. Streams of samples to stereo and to another sample rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soxr

from stemsplit.job import STEREO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray


def to_stereo(blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Play a mono stream on both channels; pass a stereo stream through.

    Args:
        blocks: `(frames, 1)` or `(frames, 2)` float32.

    Yields:
        `(frames, 2)` float32.

    Raises:
        ValueError: for any other number of channels.
    """
    for block in blocks:
        channels = block.shape[1]
        if channels not in {1, STEREO}:
            message = f"expected 1 or 2 channels, got {channels}"
            raise ValueError(message)
        yield np.broadcast_to(block, (len(block), STEREO))


def resample(
    blocks: Iterable[NDArray[np.float32]], *, source_rate: int, target_rate: int, channels: int
) -> Iterator[NDArray[np.float32]]:
    """Convert the sample rate of a stream at soxr's "very high quality".

    Args:
        blocks: `(frames, channels)` float32.
        source_rate: of the blocks, in Hz.
        target_rate: wanted, in Hz.
        channels: of every block.

    Yields:
        `(frames, channels)` float32; the blocks themselves where the rates agree. Together they
        hold N * target_rate / source_rate frames, rounded.
    """
    if source_rate == target_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(source_rate, target_rate, channels, dtype="float32", quality="VHQ")
    for block in blocks:
        converted = stream.resample_chunk(np.ascontiguousarray(block))
        if len(converted):
            yield converted
    rest = stream.resample_chunk(np.empty((0, channels), np.float32), last=True)
    if len(rest):
        yield rest

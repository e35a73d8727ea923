"""Runs in both. How many samples are handled at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Sample = TypeVar("Sample", bound=np.generic)

BLOCK_FRAMES = 65_536
"""The most frames a block: 1.5 s at 44.1 kHz, 512 KiB in stereo."""


def in_pieces(block: NDArray[Sample], frames: int = BLOCK_FRAMES) -> Iterator[NDArray[Sample]]:
    """Cut `(frames, channels)` into views of at most so many frames."""
    for first in range(0, len(block), frames):
        yield block[first : first + frames]


def silence(frames: int, channels: int) -> Iterator[NDArray[np.float32]]:
    """Make `(frames, channels)` float32 of zeros, in blocks of at most `BLOCK_FRAMES` frames."""
    for first in range(0, frames, BLOCK_FRAMES):
        yield np.zeros((min(BLOCK_FRAMES, frames - first), channels), np.float32)

"""Runs in the child. Blocks of samples: their largest size, splitting, silence. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Sample = TypeVar("Sample", bound=np.generic)

BLOCK_FRAMES = 65_536
"""Largest number of frames in a block: 1.5 s at 44.1 kHz, 512 KiB in stereo."""


def split_block(block: NDArray[Sample], frames: int = BLOCK_FRAMES) -> Iterator[NDArray[Sample]]:
    """Yield views of `(frames, channels)` samples, each of at most `frames` frames."""
    for first in range(0, len(block), frames):
        yield block[first : first + frames]


def silence(frames: int, channels: int) -> Iterator[NDArray[np.float32]]:
    """Yield `(frames, channels)` float32 zeros in blocks of at most `BLOCK_FRAMES` frames."""
    for first in range(0, frames, BLOCK_FRAMES):
        yield np.zeros((min(BLOCK_FRAMES, frames - first), channels), np.float32)

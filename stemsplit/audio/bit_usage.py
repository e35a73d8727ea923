"""Runs in both. How many bits of a sample are truly used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FINEST_BITS = 32
"""Samples that are finer than these are floating point in earnest."""

MOST_INTEGER_BITS = 24
"""The most that float32 holds at full scale."""


def uses_more_bits(samples: NDArray[np.float32], bits: int) -> bool:
    """Tell whether any sample lies between two steps of a bit depth.

    Args:
        samples: float32, any shape; full scale is -1..1.
        bits: 2 to 24.
    """
    steps = samples * np.float32(2.0 ** (bits - 1))
    return bool(np.any(steps != np.rint(steps)))


class UsedBits:
    """Finds out how many bits the samples of a stream use, from the top."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._steps = np.int64(0)
        self._is_finer = False

    def add(self, samples: NDArray[np.float32]) -> None:
        """Look at some samples, float32 of any shape."""
        scaled = samples.astype(np.float64) * 2.0 ** (FINEST_BITS - 1)
        steps = scaled.astype(np.int64)
        self._is_finer = self._is_finer or bool(np.any(steps != scaled))
        self._steps |= np.bitwise_or.reduce(steps, axis=None)

    @property
    def bits(self) -> int | None:
        """The bits that suffice for all of them, 1 for silence; None if no integer holds them."""
        if self._is_finer:
            return None
        steps = int(self._steps)
        unused = (steps & -steps).bit_length() - 1 if steps else FINEST_BITS - 1
        return FINEST_BITS - unused

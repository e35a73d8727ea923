"""Runs in the child. Measures how many bits the samples of a file use. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_INTEGER_BITS = 32
"""Samples that need more bits than this are floating point."""

MAX_EXACT_BITS = 24
"""Bit depth up to which float32 represents every integer sample exactly."""


def uses_more_bits(samples: NDArray[np.float32], bits: int) -> bool:
    """Return whether any sample, of full scale -1..1, lies between two steps of 2 to 24 bits."""
    steps = samples * np.float32(2.0 ** (bits - 1))
    return bool(np.any(steps != np.rint(steps)))


class BitUsageMeter:
    """Measures how many bits the samples of a stream use, from the most significant one."""

    def __init__(self) -> None:
        self._steps = np.int64(0)
        self._needs_float = False

    def add(self, samples: NDArray[np.float32]) -> None:
        """Add samples, float32 of any shape."""
        scaled = samples.astype(np.float64) * 2.0 ** (MAX_INTEGER_BITS - 1)
        steps = scaled.astype(np.int64)
        self._needs_float = self._needs_float or bool(np.any(steps != scaled))
        self._steps |= np.bitwise_or.reduce(steps, axis=None)

    @property
    def bits(self) -> int | None:
        """Bit depth that suffices for all samples, 1 for silence; None if no integer depth does."""
        if self._needs_float:
            return None
        steps = int(self._steps)
        unused = (steps & -steps).bit_length() - 1 if steps else MAX_INTEGER_BITS - 1
        return MAX_INTEGER_BITS - unused

"""Runs in both. How loud samples are at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def peak_of(samples: NDArray[np.float32]) -> float:
    """Give the largest absolute value, NaN if there is one among them; 0 for no samples."""
    if not samples.size:
        return 0.0
    return float(np.maximum(samples.max(), -samples.min()))


def beyond_full_scale(samples: NDArray[np.float32]) -> int:
    """Count the samples beyond -1..1."""
    if peak_of(samples) <= 1:
        return 0
    return int(np.count_nonzero(np.abs(samples) > 1))

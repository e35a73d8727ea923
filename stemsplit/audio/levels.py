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


def peaks_of(samples: NDArray[np.float32], starts: list[int]) -> NDArray[np.float32]:
    """Give the largest absolute value of each part; NaN where there is one among them.

    Args:
        samples: `(frames, channels)`, at least one frame.
        starts: where each part begins, in frames; the first at 0, rising, each within `samples`.
    """
    values = np.abs(samples).reshape(-1)
    peaks: NDArray[np.float32] = np.maximum.reduceat(values, np.array(starts) * samples.shape[1])
    return peaks


_NOISE_FRAMES = 4096
_NOISE_TOLERANCE = 0.05


def is_full_scale_noise(samples: NDArray[np.float32]) -> bool:
    """Tell whether samples are what random bits look like: evenly spread from -1 to 1, and white.

    No music is. The moments of an even distribution are 1/2 (of absolute values), 1/3 and 1/5.

    Args:
        samples: `(frames, channels)`; fewer than some thousand frames tell nothing.
    """
    if len(samples) < _NOISE_FRAMES:
        return False
    values = samples.astype(np.float64)
    squares = values**2
    moments = (np.abs(values).mean(), squares.mean(), (squares**2).mean())
    if any(
        abs(moment * power - 1) > _NOISE_TOLERANCE
        for moment, power in zip(moments, (2, 3, 5), strict=True)
    ):
        return False
    neighbours = (values[1:] * values[:-1]).mean() / moments[1]
    return bool(abs(neighbours) < _NOISE_TOLERANCE)


def beyond_full_scale(samples: NDArray[np.float32]) -> int:
    """Count the samples beyond -1..1."""
    if peak_of(samples) <= 1:
        return 0
    return int(np.count_nonzero(np.abs(samples) > 1))

"""Runs in the child. Peaks of samples, and a test for noise at full scale. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MIN_NOISE_FRAMES = 4096
_NOISE_TOLERANCE = 0.05


def peak_of(samples: NDArray[np.float32]) -> float:
    """Return the largest absolute sample: NaN if any is NaN, 0.0 for an empty array."""
    if not samples.size:
        return 0.0
    return float(np.maximum(samples.max(), -samples.min()))


def peaks_of_parts(samples: NDArray[np.float32], starts: list[int]) -> NDArray[np.float32]:
    """Return the largest absolute sample of each part; NaN for a part that contains NaN.

    Args:
        samples: `(frames, channels)`, at least one frame.
        starts: first frame of each part, in ascending order from 0, each within `samples`.
    """
    values = np.abs(samples).reshape(-1)
    peaks: NDArray[np.float32] = np.maximum.reduceat(values, np.array(starts) * samples.shape[1])
    return peaks


def count_beyond_full_scale(samples: NDArray[np.float32]) -> int:
    """Return the number of samples beyond -1..1."""
    if peak_of(samples) <= 1:
        return 0
    return int(np.count_nonzero(np.abs(samples) > 1))


def is_full_scale_noise(samples: NDArray[np.float32]) -> bool:
    """Return whether samples look like random bits: uniform between -1 and 1, and white.

    Music never does. The moments of a uniform distribution are 1/2 (of absolute values), 1/3 and
    1/5.

    Args:
        samples: `(frames, channels)`; the result is False for fewer than 4,096 frames.
    """
    if len(samples) < _MIN_NOISE_FRAMES:
        return False
    values = samples.astype(np.float64)
    squares = values**2
    moments = (np.abs(values).mean(), squares.mean(), (squares**2).mean())
    if any(
        abs(moment * reciprocal - 1) > _NOISE_TOLERANCE
        for moment, reciprocal in zip(moments, (2, 3, 5), strict=True)
    ):
        return False
    correlation = (values[1:] * values[:-1]).mean() / moments[1]
    return bool(abs(correlation) < _NOISE_TOLERANCE)

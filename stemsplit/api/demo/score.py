"""Runs in the supervisor. How near an estimated stem is to the true one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def si_sdr(estimate: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Give the scale-invariant signal-to-distortion ratio in dB.

    As defined by Le Roux, Wisdom, Erdogan and Hershey, "SDR - half-baked or well done?", ICASSP
    2019, equation 3, over all channels at once.

    Args:
        estimate: `(frames, channels)`.
        truth: of the same shape, not silent.

    Returns:
        dB; the more the better; infinite for an estimate that is exact up to its loudness.
    """
    guess = estimate.astype(np.float64).ravel()
    true = truth.astype(np.float64).ravel()
    target = (guess @ true) / (true @ true) * true
    noise = guess - target
    with np.errstate(divide="ignore"):
        return float(10 * np.log10((target @ target) / (noise @ noise)))

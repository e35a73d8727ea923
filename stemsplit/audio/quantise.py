"""Runs in the child. Rounds samples to a bit depth, with or without dither. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stemsplit.audio.levels import count_beyond_full_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray


def quantise(
    samples: NDArray[np.float32], bits: int, random: np.random.Generator | None = None
) -> tuple[NDArray[np.int32], int]:
    """Round samples to the steps of a bit depth and clamp them to full scale.

    libsndfile's own conversion truncates, which shifts samples down by half a step on average.
    Dither noise has a triangular probability density from -1 to 1 step, as the sum of two uniform
    variables. This makes the mean and the power of the rounding error independent of the signal
    (Lipshitz, Wannamaker and Vanderkooy, "Quantization and dither", JAES 40, 1992).

    Args:
        samples: float32, any shape, finite; full scale is -1..1.
        bits: 16 or 24.
        random: source of the dither noise; None for no dither.

    Returns:
        the samples as int32, left-aligned as libsndfile requires, and the number of samples beyond
        -1..1. A sample of exactly 1.0 is clamped to the highest step, but not counted.
    """
    scale = np.float32(2 ** (bits - 1))  # a power of two: the product is exact
    exact: NDArray[np.floating[Any]] = samples * scale
    if random is not None:
        exact = exact + (random.random(samples.shape) - random.random(samples.shape))
    steps = np.rint(exact)
    np.clip(steps, -scale, scale - 1, out=steps)
    return steps.astype(np.int32) << (32 - bits), count_beyond_full_scale(samples)

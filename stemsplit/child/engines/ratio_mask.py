"""Runs in the child. Computes Spleeter's ratio masks, for all engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

EXPONENT = 2
"""`separation_exponent` in all Spleeter configurations."""

EPSILON = 1e-10
"""`EstimatorSpecBuilder.EPSILON` in `spleeter.model`: divides silence equally among the stems."""


def ratio_masks(estimates: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], ...]:
    """Compute masks from estimated magnitudes: (e_i^2 + eps / n) / (sum of e^2 + eps).

    The formula is that of `EstimatorSpecBuilder._build_masks` in `spleeter.model`, for `EXPONENT`.

    Args:
        estimates: for each of n stems a non-negative float32 array, all of one shape. Not modified.

    Returns:
        for each stem a new float32 array of that shape, with values in 0..1.
    """
    squares = [np.square(estimate) for estimate in estimates]
    total = np.add.reduce(squares)
    total += np.float32(EPSILON)
    for mask in squares:
        np.add(mask, np.float32(EPSILON / len(squares)), out=mask)
        np.divide(mask, total, out=mask)
    return tuple(squares)


def softmax_estimates(
    logits: Sequence[NDArray[np.float32]], magnitudes: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Compute estimated magnitudes from the logits of U-Nets that share a softmax.

    This is the last step of `softmax_unet` in `spleeter.model.functions.unet`, the network of the
    5stems models.

    Args:
        logits: for each stem a float32 array, all of one shape. Overwritten.
        magnitudes: float32 array of that shape, from the mix.

    Returns:
        for each stem a float32 array; they sum to `magnitudes`.
    """
    highest = np.maximum.reduce(logits)
    for logit in logits:
        np.subtract(logit, highest, out=logit)
        np.exp(logit, out=logit)
    scale = magnitudes / np.add.reduce(logits)
    return [np.multiply(logit, scale, out=logit) for logit in logits]

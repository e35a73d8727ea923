"""Runs in the child. Spleeter's ratio masks from the network's estimates, for every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

EXPONENT = 2
"""`separation_exponent` in all of Spleeter's configurations."""

EPSILON = 1e-10
"""`EstimatorSpecBuilder.EPSILON` in `spleeter.model`: makes silence share itself out equally."""


def ratio_masks(estimates: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], ...]:
    """Turn estimated magnitudes into masks: (e_i^2 + eps / n) / (sum of e^2 + eps).

    This is `_build_masks` of `spleeter.model.EstimatorSpecBuilder` for `EXPONENT`.

    Args:
        estimates: one float32 array a stem, all of one shape, zero or more. Left as they are.

    Returns:
        as many float32 arrays of that shape, in 0..1.
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
    """Turn the logits of U-Nets that share a softmax into estimated magnitudes.

    This is the end of `spleeter.model.functions.unet.softmax_unet`, which the 5stems model uses.

    Args:
        logits: one float32 array a stem, all of one shape. Overwritten.
        magnitudes: of the mix, in that shape.

    Returns:
        as many float32 arrays; they sum to `magnitudes`.
    """
    highest = np.maximum.reduce(logits)
    for logit in logits:
        np.subtract(logit, highest, out=logit)
        np.exp(logit, out=logit)
    scale = magnitudes / np.add.reduce(logits)
    return [np.multiply(logit, scale, out=logit) for logit in logits]

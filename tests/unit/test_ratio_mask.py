"""Ratio masks, compared with their formula in float64."""

from __future__ import annotations

import numpy as np
import pytest

from stemsplit.child.engines.ratio_mask import ratio_masks


@pytest.mark.parametrize("stems", [2, 4, 5])
def test_masks_match_the_formula_and_sum_to_one(stems: int) -> None:
    """They are shares of the squared estimates, to the precision of float32."""
    random = np.random.default_rng(stems)
    estimates = [random.exponential(1, (4, 3, 2)).astype(np.float32) for _ in range(stems)]
    before = [estimate.copy() for estimate in estimates]
    masks = ratio_masks(estimates)
    exact = np.array(estimates, np.float64) ** 2
    np.testing.assert_allclose(masks, exact / exact.sum(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.sum(masks, axis=0), 1, rtol=1e-6)
    np.testing.assert_array_equal(estimates, before)


def test_silence_is_shared_equally() -> None:
    """If all estimates are zero, every stem gets the same share, not 0 / 0."""
    masks = ratio_masks([np.zeros((2, 2, 2), np.float32)] * 4)
    np.testing.assert_allclose(masks, 0.25)

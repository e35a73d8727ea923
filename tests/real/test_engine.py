"""The TensorFlow engine with the real weights and with broken ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from stemsplit.child.engines.tensorflow import load
from stemsplit.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real


def test_masks_are_shares_of_the_right_shape(real_models: Path) -> None:
    """Two masks in 0..1 that sum to one, and the model's own words about itself."""
    engine = load("2stems", real_models / "2stems", threads=1)
    assert engine.model == "2stems"
    assert engine.stems == ("vocals", "accompaniment")
    assert 500 * 2**20 < engine.needed_memory_bytes < 1000 * 2**20
    magnitudes = np.random.default_rng(0).exponential(1, (512, engine.bins, 2))
    masks = engine.masks(magnitudes.astype(np.float32))
    assert [mask.shape for mask in masks] == [(512, 1024, 2)] * 2
    assert min(mask.min() for mask in masks) >= 0
    np.testing.assert_allclose(masks[0] + masks[1], 1, atol=1e-6)


def test_weights_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    """One sentence with the model and the remedy, never an untrained network."""
    with pytest.raises(EngineError, match="cannot load the weights of 2stems") as caught:
        load("2stems", tmp_path, threads=1)
    assert "stemsplit models fetch 2stems" in caught.value.remedy


def test_weights_of_another_model_are_an_error(real_models: Path) -> None:
    """Two instruments' weights do not make four."""
    with pytest.raises(EngineError, match="cannot load the weights of 4stems"):
        load("4stems", real_models / "2stems", threads=1)

"""The TensorFlow engine with the real weights and with broken ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from references import write_random_weights

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
    magnitudes = np.random.default_rng(0).exponential(1, (512, engine.bins, 2))
    masks = engine.masks(magnitudes.astype(np.float32))
    assert [mask.shape for mask in masks] == [(512, 1024, 2)] * 2
    assert min(mask.min() for mask in masks) >= 0
    np.testing.assert_allclose(masks[0] + masks[1], 1, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("2stems", 0.0),
        ("4stems", 0.0),
        ("5stems", 1e-6),  # its softmax over the instruments is NumPy's then
    ],
)
def test_one_instrument_at_a_time_gives_the_same_masks(
    real_models: Path, tmp_path: Path, model: str, most: float
) -> None:
    """Each instrument gets its own weights, for one segment after the other."""
    trained = model == "2stems"
    folder = real_models / model if trained else write_random_weights(model, tmp_path, seed=5)
    whole, lean = load(model, folder, threads=1), load(model, folder, threads=1, lean=True)
    assert lean.stems == whole.stems
    assert lean.bins == whole.bins
    random = np.random.default_rng(7)
    for _ in range(2):
        magnitudes = random.exponential(1, (512, whole.bins, 2)).astype(np.float32)
        for one, other in zip(whole.masks(magnitudes), lean.masks(magnitudes), strict=True):
            assert np.max(np.abs(one - other)) <= most


def test_weights_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    """One sentence with the model and the remedy, never an untrained network."""
    with pytest.raises(EngineError, match="cannot load the weights of 2stems") as caught:
        load("2stems", tmp_path, threads=1)
    assert "stemsplit models fetch 2stems" in caught.value.remedy


def test_weights_of_another_model_are_an_error(real_models: Path) -> None:
    """Two instruments' weights do not make four."""
    with pytest.raises(EngineError, match="cannot load the weights of 4stems"):
        load("4stems", real_models / "2stems", threads=1)

"""The TensorFlow engine with the real weights and with broken ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from checkpoints import write_random_weights
from numpy_unet import transposed

from stemsplit.core.errors import EngineError

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

import references

from stemsplit.child.engines.tensorflow import c_library, load
from stemsplit.child.engines.tensorflow.unet_graph import phases_of

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


@pytest.mark.parametrize("model", ["2stems", "4stems", "5stems", "2stems-16kHz"])
def test_the_masks_are_those_of_spleeter_s_own_functions(
    real_models: Path, tmp_path: Path, model: str
) -> None:
    """The network that is built here is Spleeter's, for every kind of model.

    Random weights carry the rounding of a processor's kernels further than trained ones do.
    """
    trained = model == "2stems"
    folder = real_models / model if trained else write_random_weights(model, tmp_path, seed=5)
    engine = load(model, folder, threads=2)
    magnitudes = np.random.default_rng(7).exponential(1, (512, engine.bins, 2)).astype(np.float32)
    theirs = references.spleeter_masks(model, folder, magnitudes)
    assert engine.stems == tuple(theirs)
    for one, other in zip(engine.masks(magnitudes), theirs.values(), strict=True):
        np.testing.assert_allclose(one, other, atol=3e-6 if trained else 1e-5)


@pytest.mark.parametrize(
    ("content", "why"), [(None, "without its library"), (b"no library", "cannot be loaded")]
)
def test_tensorflow_without_its_library_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, why: str
) -> None:
    """One sentence with the other engine as a way out."""
    path = None if content is None else tmp_path / "library"
    if path is not None and content is not None:
        path.write_bytes(content)
    c_library._library.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(c_library, "library_path", lambda: path)
        with pytest.raises(EngineError, match=why) as caught:
            load("2stems", tmp_path, threads=1)
    c_library._library.cache_clear()
    assert "--engine onnx" in caught.value.remedy


def test_the_session_is_configured_as_it_says() -> None:
    """Field by field, by TensorFlow's own reader of such messages."""
    import tensorflow as tf

    read = tf.compat.v1.ConfigProto.FromString(c_library._configuration(300))
    expected = tf.compat.v1.ConfigProto(
        device_count={"GPU": 0}, intra_op_parallelism_threads=300, inter_op_parallelism_threads=1
    )
    expected.graph_options.optimizer_options.opt_level = -1
    expected.graph_options.rewrite_options.disable_meta_optimizer = True
    assert read == expected


def test_phases_make_a_transposed_convolution() -> None:
    """Against the definition, sample by sample: j = 2 i + k - 1 on both axes."""
    random = np.random.default_rng(3)
    kernel = random.standard_normal((5, 5, 1, 3)).astype(np.float32)
    source = random.standard_normal((4, 6, 3)).astype(np.float32)
    expected = transposed(source.astype(np.float64), kernel.astype(np.float64))[..., 0]
    phases = phases_of(kernel).reshape(3, 3, 3, 2, 2)
    padded = np.pad(source, [(1, 1), (1, 1), (0, 0)])
    found = np.zeros((4, 2, 6, 2))
    for row, column in np.ndindex(4, 6):
        seen = padded[row : row + 3, column : column + 3]
        found[row, :, column, :] = np.einsum("abc,abcxy->xy", seen, phases)
    np.testing.assert_allclose(found.reshape(8, 12), expected, atol=1e-5)


def test_tensors_outlive_what_numpy_sees_of_them() -> None:
    """An array holds the memory that it shows; strings of any length arrive."""
    array = c_library.Tensor.of(np.arange(6, dtype=np.float32).reshape(2, 3)).array
    np.testing.assert_array_equal(array, [[0, 1, 2], [3, 4, 5]])
    assert c_library.Tensor.of_strings([b"", b"x" * 500]).shape == (2,)


def test_what_tensorflow_refuses_is_an_error() -> None:
    """Its own words, for an operation that is not there and for a tensor that does not fit."""
    graph = c_library.Graph()
    with pytest.raises(c_library.LibraryError, match="NoSuchOperation"):
        graph.add("NoSuchOperation")
    place = graph.placeholder(c_library.DataType.FLOAT)
    doubled = graph.add("AddV2", place, place, T=c_library.DataType.FLOAT)
    session = c_library.Session(graph, threads=1)
    (found,) = session.run([(place, c_library.Tensor.of(np.ones(3, np.float32)))], [doubled])
    np.testing.assert_array_equal(found.array, [2, 2, 2])
    with pytest.raises(c_library.LibraryError):
        session.run([(place, c_library.Tensor.of(np.ones(3, np.int32)))], [doubled])


def test_weights_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    """One sentence with the model and the remedy, never an untrained network."""
    with pytest.raises(EngineError, match="cannot load the weights of 2stems") as caught:
        load("2stems", tmp_path, threads=1)
    assert "stemsplit models fetch 2stems" in caught.value.remedy


def test_weights_of_another_model_are_an_error(real_models: Path) -> None:
    """Two instruments' weights do not make four."""
    with pytest.raises(EngineError, match="cannot load the weights of 4stems"):
        load("4stems", real_models / "2stems", threads=1)

"""The TensorFlow engine with the real weights and with invalid ones."""

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
from stemsplit.child.engines.tensorflow.graph import Graph
from stemsplit.child.engines.tensorflow.session import Session, config_proto
from stemsplit.child.engines.tensorflow.tensor import Tensor
from stemsplit.child.engines.tensorflow.unet_graph import phase_kernel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real


def test_masks_are_shares_that_sum_to_one(real_models: Path) -> None:
    """The two masks have the right shape, and the engine names its model and stems."""
    engine = load("2stems", real_models / "2stems", threads=1)
    assert engine.model == "2stems"
    assert engine.stems == ("vocals", "accompaniment")
    magnitudes = np.random.default_rng(0).exponential(1, (512, engine.bins, 2))
    masks = engine.masks(magnitudes.astype(np.float32))
    assert [mask.shape for mask in masks] == [(512, 1024, 2)] * 2
    assert min(mask.min() for mask in masks) >= 0
    np.testing.assert_allclose(masks[0] + masks[1], 1, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "max_difference"),
    [
        ("2stems", 0.0),
        ("4stems", 0.0),
        ("5stems", 1e-6),  # NumPy computes its softmax over the instruments
    ],
)
def test_lean_masks_are_the_same(
    real_models: Path, tmp_path: Path, model: str, max_difference: float
) -> None:
    """Each instrument uses its own weights, for one segment after the other."""
    trained = model == "2stems"
    folder = real_models / model if trained else write_random_weights(model, tmp_path, seed=5)
    whole, lean = load(model, folder, threads=1), load(model, folder, threads=1, lean=True)
    assert lean.stems == whole.stems
    assert lean.bins == whole.bins
    random = np.random.default_rng(7)
    for _ in range(2):
        magnitudes = random.exponential(1, (512, whole.bins, 2)).astype(np.float32)
        for expected, actual in zip(whole.masks(magnitudes), lean.masks(magnitudes), strict=True):
            assert np.max(np.abs(expected - actual)) <= max_difference


@pytest.mark.parametrize("model", ["2stems", "4stems", "5stems", "2stems-16kHz"])
def test_masks_equal_those_of_spleeter(real_models: Path, tmp_path: Path, model: str) -> None:
    """The network is that of Spleeter's own functions, for every type of model.

    Random weights amplify the rounding errors of the kernels more than trained ones.
    """
    trained = model == "2stems"
    folder = real_models / model if trained else write_random_weights(model, tmp_path, seed=5)
    engine = load(model, folder, threads=2)
    magnitudes = np.random.default_rng(7).exponential(1, (512, engine.bins, 2)).astype(np.float32)
    theirs = references.spleeter_masks(model, folder, magnitudes)
    assert engine.stems == tuple(theirs)
    for actual, expected in zip(engine.masks(magnitudes), theirs.values(), strict=True):
        np.testing.assert_allclose(actual, expected, atol=3e-6 if trained else 1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "its library was not found"), (b"no library", "cannot be loaded")],
)
def test_tensorflow_without_its_library_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    """The remedy is the other engine."""
    path = None if content is None else tmp_path / "library"
    if path is not None and content is not None:
        path.write_bytes(content)
    c_library.load_library.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(c_library, "library_path", lambda: path)
        with pytest.raises(EngineError, match=message) as caught:
            load("2stems", tmp_path, threads=1)
    c_library.load_library.cache_clear()
    assert "--engine onnx" in caught.value.remedy


def test_the_session_has_the_expected_configuration() -> None:
    """TensorFlow's own parser reads it, field by field."""
    import tensorflow as tf

    read = tf.compat.v1.ConfigProto.FromString(config_proto(300))
    expected = tf.compat.v1.ConfigProto(
        device_count={"GPU": 0}, intra_op_parallelism_threads=300, inter_op_parallelism_threads=1
    )
    expected.graph_options.optimizer_options.opt_level = -1
    expected.graph_options.rewrite_options.disable_meta_optimizer = True
    assert read == expected


def test_the_phase_kernel_is_a_transposed_convolution() -> None:
    """By definition, tap k of sample i adds to sample j = 2 i + k - 1 on both axes."""
    random = np.random.default_rng(3)
    kernel = random.standard_normal((5, 5, 1, 3)).astype(np.float32)
    source = random.standard_normal((4, 6, 3)).astype(np.float32)
    expected = transposed(source.astype(np.float64), kernel.astype(np.float64))[..., 0]
    phases = phase_kernel(kernel).reshape(3, 3, 3, 2, 2)
    padded = np.pad(source, [(1, 1), (1, 1), (0, 0)])
    found = np.zeros((4, 2, 6, 2))
    for row, column in np.ndindex(4, 6):
        window = padded[row : row + 3, column : column + 3]
        found[row, :, column, :] = np.einsum("abc,abcxy->xy", window, phases)
    np.testing.assert_allclose(found.reshape(8, 12), expected, atol=1e-5)


def test_an_array_keeps_its_tensor_alive() -> None:
    """Tensors of strings store strings of any length."""
    array = Tensor.from_array(np.arange(6, dtype=np.float32).reshape(2, 3)).array
    np.testing.assert_array_equal(array, [[0, 1, 2], [3, 4, 5]])
    assert Tensor.from_strings([b"", b"x" * 500]).shape == (2,)


def test_tensorflow_errors_are_raised() -> None:
    """The operation does not exist, or a tensor has the wrong type."""
    graph = Graph()
    with pytest.raises(c_library.LibraryError, match="NoSuchOperation"):
        graph.add("NoSuchOperation")
    source = graph.placeholder(c_library.DataType.FLOAT)
    doubled = graph.add("AddV2", source, source, T=c_library.DataType.FLOAT)
    session = Session(graph, threads=1)
    (found,) = session.run([(source, Tensor.from_array(np.ones(3, np.float32)))], [doubled])
    np.testing.assert_array_equal(found.array, [2, 2, 2])
    with pytest.raises(c_library.LibraryError):
        session.run([(source, Tensor.from_array(np.ones(3, np.int32)))], [doubled])


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    """The message names the model and the remedy; no untrained network is used."""
    with pytest.raises(EngineError, match="cannot load the weights of 2stems") as caught:
        load("2stems", tmp_path, threads=1)
    assert "stemsplit models fetch 2stems" in caught.value.remedy


def test_weights_of_another_model_are_an_error(real_models: Path) -> None:
    """The weights are for two stems, and the model has four."""
    with pytest.raises(EngineError, match="cannot load the weights of 4stems"):
        load("4stems", real_models / "2stems", threads=1)

"""The ONNX engine compared with TensorFlow's: checkpoints, masks and stems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from checkpoints import write_checkpoint

from stemsplit.api.demo.song import make_song
from stemsplit.audio.decode import Decoder
from stemsplit.child.engines import onnx
from stemsplit.child.engines.network_definitions import CHECKPOINT_PREFIX
from stemsplit.child.engines.weights.checkpoint import Checkpoint
from stemsplit.core.settings import MODEL_SAMPLE_RATE

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
from references import streamed_stems

from stemsplit.child.engines import tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.child.engines.protocols import Engine

pytestmark = pytest.mark.real

MAX_MASK_DIFFERENCE = 1e-4
MAX_MASK_DIFFERENCE_RANDOM_SOFTMAX = 2e-4
"""Random logits are so large that the masks of TensorFlow are up to 8e-5 from those in float64, and
ours up to 6e-5; `test_onnx_engine` requires at most 1e-4 for every model."""
MAX_STEM_DIFFERENCE = 1e-5
OGG_SECONDS = 40


def _load_both(model: str, folders: tuple[Path, Path]) -> tuple[Engine, Engine]:
    published, converted = folders
    return onnx.load(model, converted, threads=2), tensorflow.load(model, published, threads=2)


@pytest.mark.parametrize("model", ["2stems", "4stems", "5stems"])
def test_checkpoints_are_read_as_by_tensorflow(
    weights: Callable[[str], tuple[Path, Path]], model: str
) -> None:
    """Each tensor has the same name, shape and bits."""
    prefix = weights(model)[0] / CHECKPOINT_PREFIX
    ours, theirs = Checkpoint(prefix), tf.train.load_checkpoint(str(prefix))
    shapes = theirs.get_variable_to_shape_map()
    assert {name: [*entry.shape] for name, entry in ours.entries.items()} == shapes
    for name in shapes:
        if name != "global_step":  # the only integer
            np.testing.assert_array_equal(ours.tensor(name), theirs.get_tensor(name))


def test_tensorflow_reads_the_checkpoints_of_the_tests(tmp_path: Path) -> None:
    """Random weights are stored as TensorFlow would store them."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"a/b": (3, 4), "a/c": (), "z": (2, 1, 5)}
    tensors = {name: random.random(shape).astype(np.float32) for name, shape in shapes.items()}
    write_checkpoint(tmp_path / "model", tensors)
    theirs = tf.train.load_checkpoint(str(tmp_path / "model"))
    for name, expected in tensors.items():
        np.testing.assert_array_equal(theirs.get_tensor(name), expected)


@pytest.mark.parametrize("model", ["2stems", "2stems-16kHz", "4stems", "5stems"])
def test_masks_and_stems_equal_those_of_tensorflow(
    weights: Callable[[str], tuple[Path, Path]], engine_table: Callable[[str], None], model: str
) -> None:
    """Masks of the synthetic song differ by at most 1e-4, stems by 1e-5 of full scale."""
    ours, theirs = _load_both(model, weights(model))
    assert (ours.stems, ours.bins) == (theirs.stems, theirs.bins)
    mix = make_song(13.0).mix
    mask_difference = _watch_masks(ours, theirs)
    stem_difference = _largest_stem_difference(ours, theirs, mix)
    engine_table(f"| {model} | song, 13 s | {mask_difference():.1e} | {stem_difference:.1e} |")
    assert mask_difference() <= (
        MAX_MASK_DIFFERENCE_RANDOM_SOFTMAX if model == "5stems" else MAX_MASK_DIFFERENCE
    )
    assert stem_difference <= MAX_STEM_DIFFERENCE


def test_stems_of_an_ogg_file_equal_those_of_tensorflow(
    weights: Callable[[str], tuple[Path, Path]],
    engine_table: Callable[[str], None],
    tmp_path: Path,
) -> None:
    """The file has four segments, and is decoded as in a child."""
    path = tmp_path / "song.ogg"
    song = make_song(20.0).mix
    with soundfile.SoundFile(path, "w", MODEL_SAMPLE_RATE, 2, format="OGG") as file:
        for number in range(OGG_SECONDS // 20):
            file.write(song * (1 - number / 20))
    with Decoder(path) as source:
        mix = np.concatenate([*source.blocks()])
    ours, theirs = _load_both("2stems", weights("2stems"))
    mask_difference = _watch_masks(ours, theirs)
    stem_difference = _largest_stem_difference(ours, theirs, mix)
    engine_table(
        f"| 2stems | Ogg, {OGG_SECONDS} s | {mask_difference():.1e} | {stem_difference:.1e} |"
    )
    assert mask_difference() <= MAX_MASK_DIFFERENCE
    assert stem_difference <= MAX_STEM_DIFFERENCE


def _largest_stem_difference(ours: Engine, theirs: Engine, mix: NDArray[np.float32]) -> float:
    """Return the largest difference of any sample of any stem."""
    found, expected = streamed_stems(ours, mix), streamed_stems(theirs, mix)
    return max(float(np.max(np.abs(found[stem] - expected[stem]))) for stem in ours.stems)


def _watch_masks(ours: Engine, theirs: Engine) -> Callable[[], float]:
    """Compare the masks of later calls; the returned function returns the largest difference."""
    largest, masks = [0.0], theirs.masks

    def both(magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        expected = masks(magnitudes)
        for ours_mask, expected_mask in zip(ours.masks(magnitudes), expected, strict=True):
            largest[0] = max(largest[0], float(np.max(np.abs(ours_mask - expected_mask))))
        return expected

    theirs.masks = both  # type: ignore[method-assign]
    return lambda: largest[0]

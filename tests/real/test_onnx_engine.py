"""The ONNX engine: its weights, its graphs, and its masks against the definition."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from checkpoints import write_random_weights
from numpy_unet import numpy_masks

from stemsplit.audio import stft
from stemsplit.audio.fft import fastest_transform
from stemsplit.child.engines.network_definitions import (
    CHECKPOINT_PREFIX,
    NETWORKS,
    NORMALISATION_VARIABLES,
    variable_name,
)
from stemsplit.child.engines.onnx.engine import graph_path, load
from stemsplit.child.engines.weights import converted_file
from stemsplit.child.engines.weights.checkpoint import Checkpoint
from stemsplit.core.errors import EngineError, ModelError
from stemsplit.models.catalogue import MODELS, find_model
from stemsplit.models.converted import ensure_converted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.real

MAX_MASK_DIFFERENCE = 1e-4


def _magnitudes(song: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Return the magnitudes of the song's second segment, which is short and has silence."""
    *_, segment = stft.segments([np.tile(song, (4, 1))], 2)
    transform = fastest_transform()
    spectra = [transform.forward(stft.frames_of(channel)) for channel in segment.samples]
    return np.abs(np.stack(spectra, axis=-1))[:, :bins].astype(np.float32)


@pytest.mark.parametrize("model", ["2stems", "2stems-16kHz", "4stems", "5stems-16kHz"])
def test_masks_match_the_definition(
    weights: Callable[[str], tuple[Path, Path]], song: NDArray[np.float32], model: str
) -> None:
    """NumPy computes the expected masks; sessions are kept in memory, or lean."""
    published, folder = weights(model)
    whole, lean = load(model, folder, threads=2), load(model, folder, threads=1, lean=True)
    assert (whole.model, whole.stems) == (model, MODELS[model].stems)
    magnitudes = _magnitudes(song, whole.bins)
    # float32 is exact enough, and takes half as long.
    is_small = model == "2stems"
    expected = numpy_masks(
        model, published, magnitudes, dtype=np.float64 if is_small else np.float32
    )
    for masks in (whole.masks(magnitudes), lean.masks(magnitudes), whole.masks(magnitudes)):
        assert len(masks) == len(expected)
        for mask, exact in zip(masks, expected, strict=True):
            assert mask.dtype == np.float32
            np.testing.assert_allclose(mask, exact, atol=MAX_MASK_DIFFERENCE)


def test_masks_are_new_arrays(
    weights: Callable[[str], tuple[Path, Path]], song: NDArray[np.float32]
) -> None:
    """The masks of one segment are used while the next ones are computed."""
    engine = load("2stems", weights("2stems")[1], threads=1)
    magnitudes = _magnitudes(song, engine.bins)
    first = engine.masks(magnitudes)
    kept = [mask.copy() for mask in first]
    engine.masks(magnitudes[::-1].copy())
    for mask, before in zip(first, kept, strict=True):
        np.testing.assert_array_equal(mask, before)


def test_converted_weights_equal_those_of_the_checkpoint(
    weights: Callable[[str], tuple[Path, Path]],
) -> None:
    """Each array is at its offset, with the axes of ONNX."""
    published, folder = weights("2stems")
    checkpoint = Checkpoint(published / CHECKPOINT_PREFIX)
    for stem in range(2):
        path = folder / str(stem) / converted_file.FILE_NAME
        stored = np.memmap(path, np.uint8, "r")
        for array in converted_file.arrays():
            actual = stored[array.offset : array.offset + array.size_bytes].view("<f4")
            expected = array.converted(checkpoint.tensor(array.checkpoint_name(stem)))
            np.testing.assert_array_equal(actual.reshape(array.shape), expected)
        last = converted_file.arrays()[-1]
        assert len(stored) == last.offset + last.size_bytes


def test_every_weight_of_the_checkpoint_is_used(
    weights: Callable[[str], tuple[Path, Path]],
) -> None:
    """The only exception is the normalisation whose result Spleeter's network drops."""
    entries = Checkpoint(weights("2stems")[0] / CHECKPOINT_PREFIX).entries
    used = {array.checkpoint_name(stem) for array in converted_file.arrays() for stem in range(2)}
    dropped = {
        variable_name("batch_normalization", 5, name, stem)
        for name in NORMALISATION_VARIABLES
        for stem in range(2)
    }
    assert {*entries} - used == {"global_step"} | dropped


@pytest.mark.parametrize("network", NETWORKS.values(), ids=str)
def test_the_graphs_in_the_package_are_current(network: object) -> None:
    """They are compared field by field, because protobuf may reorder their bytes."""
    graph = pytest.importorskip(
        "stemsplit.child.engines.onnx.write_graphs", reason="onnx is not installed"
    )
    expected = graph.make_graph(network)
    written = graph_path(network).read_bytes()  # type: ignore[arg-type]
    assert type(expected).FromString(written) == expected


def test_unconverted_weights_are_an_error(tmp_path: Path) -> None:
    """The message names the model and the remedy."""
    with pytest.raises(EngineError, match="cannot load the weights of 2stems") as caught:
        load("2stems", tmp_path, threads=1)
    assert "Run the same command again" in caught.value.remedy


def test_too_little_memory_raises_memory_error(
    weights: Callable[[str], tuple[Path, Path]],
) -> None:
    """Such a child is retried with other resources, and the batch continues."""
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from stemsplit.child.engines.onnx.engine import load\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 60 * 2**20,) * 2)\n"
        "try:\n"
        "    load('2stems', Path(sys.argv[1]), threads=1)\n"
        "except MemoryError:\n"
        "    sys.exit(42)\n"
    )
    command: list[str | Path] = [sys.executable, "-c", program, weights("2stems")[1]]
    assert subprocess.run(command, check=False).returncode == 42


def test_weights_of_another_model_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights for two stems do not fit a model with four, nor the other way round."""
    monkeypatch.setenv("STEMSPLIT_MODELS", str(tmp_path / "models"))
    two = write_random_weights("2stems", tmp_path, seed=1)
    with pytest.raises(ModelError, match=r"conv2d_14/kernel is missing"):
        ensure_converted(find_model("4stems"), two)
    four = write_random_weights("4stems", tmp_path, seed=1)
    with pytest.raises(ModelError, match="more than 2 stems"):
        ensure_converted(find_model("2stems"), four)


def test_weights_are_mapped_and_not_copied(weights: Callable[[str], tuple[Path, Path]]) -> None:
    """Kernels of transposed convolutions, a third of all weights, stay in the mapped file."""
    engine = load("2stems", weights("2stems")[1], threads=1)
    engine.masks(np.ones((512, engine.bins, 2), np.float32))
    mapped = 0
    with open("/proc/self/smaps") as maps:  # noqa: PTH123 - not a file on disk
        is_weights_file = False
        for line in maps:
            if "-" in line.split(" ", 1)[0]:
                is_weights_file = converted_file.FILE_NAME in line and "2stems" in line
            elif is_weights_file and line.startswith("Rss:"):
                mapped += int(line.split()[1]) * 1024
    kernels = sum(
        array.size_bytes
        for array in converted_file.arrays()
        if (array.layer_type, array.variable) == ("conv2d_transpose", "kernel")
        and not converted_file.is_by_phases(array.layer)
    )
    assert mapped >= 2 * kernels

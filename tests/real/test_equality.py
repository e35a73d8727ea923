"""The stems equal those of Spleeter, for every model and at every edge.

Spleeter's transform, TensorFlow's float32 FFT, is the less exact one: it is up to 1.5e-5 from exact
arithmetic. So there are three comparisons: with Spleeter, with the same network and transforms in
float64, and with Spleeter again, but with its transform plugged into stemsplit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from checkpoints import write_random_weights

from stemsplit.api.demo.song import make_song
from stemsplit.audio.decode import Decoder

pytest.importorskip("tensorflow", reason="Spleeter, to compare with, is not installed")

import references

from stemsplit.child.engines.tensorflow.engine import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.child.engines.protocols import Engine

pytestmark = pytest.mark.real

FROM_SPLEETER = 3e-5
BELOW_STEM_DB = 95
FROM_EXACT = 3e-6
SAME_TRANSFORM = 1e-7
SAME_TRANSFORM_RANDOM = 5e-6
"""Untrained networks amplify rounding errors: those of the last transposed convolution, whose sums
are added in a different order, and those of the softmax of 5stems."""

LENGTHS = [1, 1000, 4096, 520_192, 523_265, 524_288, 1_048_576]
OGG_SECONDS = 40


@pytest.fixture(scope="module")
def long_song() -> NDArray[np.float32]:
    """The synthetic song."""
    return make_song(max(LENGTHS) / 44_100).mix


@pytest.fixture(scope="module")
def two_stems(real_models: Path) -> Engine:
    """The real 2stems model."""
    return load("2stems", real_models / "2stems", threads=2)


def _compare(
    engine: Engine,
    models: Path,
    mix: NDArray[np.float32],
    stem_table: Callable[[str], None],
    *,
    max_difference: float = SAME_TRANSFORM,
) -> None:
    """Make all three comparisons, add the figures to the table, and check the bounds."""
    ours = references.streamed_stems(engine, mix)
    with_transform = references.streamed_stems(
        engine, mix, references.TensorFlowTransform(), overlapped=True
    )
    exact = references.exact_stems(engine, mix)
    spleeter = references.spleeter_stems(engine.model, models, mix)
    from_spleeter = from_exact = from_plugged = spleeter_from_exact = 0.0
    below_stem = np.inf
    for stem in engine.stems:
        assert ours[stem].shape == spleeter[stem].shape == mix.shape
        assert ours[stem].dtype == np.float32
        difference = ours[stem] - spleeter[stem]
        from_spleeter = max(from_spleeter, float(np.max(np.abs(difference))))
        below_stem = min(below_stem, _decibels(spleeter[stem]) - _decibels(difference))
        from_exact = max(from_exact, float(np.max(np.abs(ours[stem] - exact[stem]))))
        spleeter_from_exact = max(
            spleeter_from_exact, float(np.max(np.abs(spleeter[stem] - exact[stem])))
        )
        from_plugged = max(
            from_plugged, float(np.max(np.abs(with_transform[stem] - spleeter[stem])))
        )
    stem_table(
        f"| {engine.model} | {len(mix):,} | {from_spleeter:.1e} | {below_stem:.0f} dB | "
        f"{from_exact:.1e} | {spleeter_from_exact:.1e} | {from_plugged:.1e} |"
    )
    assert from_spleeter <= FROM_SPLEETER
    assert below_stem >= BELOW_STEM_DB
    assert from_exact <= FROM_EXACT
    assert from_plugged <= max_difference


def _decibels(samples: NDArray[np.float32]) -> float:
    """Return the RMS in dB; silence counts as -400 dB, so that equal silence passes."""
    rms = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return float(20 * np.log10(max(rms, 1e-20)))


@pytest.mark.parametrize("samples", LENGTHS)
def test_two_stems_at_the_edges_of_segments(
    samples: int,
    two_stems: Engine,
    real_models: Path,
    long_song: NDArray[np.float32],
    stem_table: Callable[[str], None],
) -> None:
    """The lengths are one sample, less than a frame, and around the edges of segments."""
    _compare(two_stems, real_models, long_song[:samples], stem_table)


def test_an_ogg_file(
    two_stems: Engine, real_models: Path, tmp_path: Path, stem_table: Callable[[str], None]
) -> None:
    """A compressed file is decoded by the real decoder, over four segments."""
    path = tmp_path / "song.ogg"
    with soundfile.SoundFile(path, "w", 44_100, 2, format="OGG", subtype="VORBIS") as file:
        for seed in range(OGG_SECONDS // 20):
            file.write(make_song(20.0, seed).mix)
    with Decoder(path) as source:
        mix = np.concatenate(list(source.blocks()))
    assert len(mix) == OGG_SECONDS * 44_100
    _compare(two_stems, real_models, mix, stem_table)


def test_the_files_of_the_command_equal_the_stems_of_spleeter(
    stemsplit: Callable[..., Any], real_models: Path, tmp_path: Path
) -> None:
    """The song has three segments, and is written in both bit depths."""
    path = tmp_path / "song.wav"
    soundfile.write(path, make_song(30.0).mix, 44_100, subtype="PCM_24")
    mix, _ = soundfile.read(path, dtype="float32")
    spleeter = references.spleeter_stems("2stems", real_models, mix)
    for bit_depth, half_step in (("32f", 0.0), ("24", 2.0**-24)):
        ran = stemsplit("separate", path, "-o", bit_depth, "--bit-depth", bit_depth)
        assert ran.code == 0, ran.err
        for stem, theirs in spleeter.items():
            ours, rate = soundfile.read(tmp_path / bit_depth / "song" / f"{stem}.wav")
            assert rate == 44_100
            assert ours.shape == theirs.shape
            assert np.max(np.abs(ours - theirs)) <= FROM_SPLEETER + half_step


@pytest.mark.parametrize(
    ("model", "samples"),
    [
        ("2stems-16kHz", 600_000),
        ("4stems", 600_000),
        ("5stems", 500_000),
        ("5stems-16kHz", 500_000),
    ],
)
def test_every_type_of_model(
    model: str,
    samples: int,
    long_song: NDArray[np.float32],
    tmp_path: Path,
    stem_table: Callable[[str], None],
) -> None:
    """Random weights in the published layout are loaded and run like real ones."""
    folder = write_random_weights(model, tmp_path, seed=len(model))
    engine = load(model, folder, threads=2)
    _compare(
        engine, tmp_path, long_song[:samples], stem_table, max_difference=SAME_TRANSFORM_RANDOM
    )

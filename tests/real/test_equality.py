"""The stems are Spleeter's own, to the last digits, for every model and at every edge.

Spleeter's transform (TensorFlow's float32 FFT) is the less exact one, up to 1.5e-5 from
exact arithmetic. So stemsplit is held against three things in the same run: Spleeter as it is,
the same network with transforms in float64, and Spleeter again with its own transform plugged in.
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

    from stemsplit.child.engines import Engine

pytestmark = pytest.mark.real

FROM_SPLEETER = 3e-5
BELOW_STEM_DB = 95
FROM_EXACT = 3e-6
SAME_TRANSFORM = 1e-7
SAME_TRANSFORM_RANDOM = 5e-6
"""Untrained networks carry rounding errors on: those of the last transposed convolution, whose sums
are added up in another order, and of the softmax of 5stems."""

LENGTHS = [1, 1000, 4096, 520_192, 523_265, 524_288, 1_048_576, 2_646_007]
OGG_SECONDS = 200


@pytest.fixture(scope="module")
def long_song() -> NDArray[np.float32]:
    """A minute of the synthetic song."""
    return make_song(max(LENGTHS) / 44_100).mix


@pytest.fixture(scope="module")
def two_stems(real_models: Path) -> Engine:
    """The real 2stems model."""
    return load("2stems", real_models / "2stems", threads=2)


def _hold(
    engine: Engine,
    models: Path,
    mix: NDArray[np.float32],
    table: Callable[[str], None],
    *,
    most_apart: float = SAME_TRANSFORM,
) -> None:
    """Compare in all three ways, note the figures, and hold them to the bounds."""
    ours = references.streamed_stems(engine, mix)
    plugged = references.streamed_stems(
        engine, mix, references.TensorFlowTransform(), overlapped=True
    )
    exact = references.exact_stems(engine, mix)
    spleeter = references.spleeter_stems(engine.model, models, mix)
    from_spleeter, below, from_exact, same, theirs = 0.0, np.inf, 0.0, 0.0, 0.0
    for stem in engine.stems:
        assert ours[stem].shape == spleeter[stem].shape == mix.shape
        assert ours[stem].dtype == np.float32
        difference = ours[stem] - spleeter[stem]
        from_spleeter = max(from_spleeter, float(np.max(np.abs(difference))))
        below = min(below, _decibels(spleeter[stem]) - _decibels(difference))
        from_exact = max(from_exact, float(np.max(np.abs(ours[stem] - exact[stem]))))
        theirs = max(theirs, float(np.max(np.abs(spleeter[stem] - exact[stem]))))
        same = max(same, float(np.max(np.abs(plugged[stem] - spleeter[stem]))))
    table(
        f"| {engine.model} | {len(mix):,} | {from_spleeter:.1e} | {below:.0f} dB | "
        f"{from_exact:.1e} | {theirs:.1e} | {same:.1e} |"
    )
    assert from_spleeter <= FROM_SPLEETER
    assert below >= BELOW_STEM_DB
    assert from_exact <= FROM_EXACT
    assert same <= most_apart


def _decibels(samples: NDArray[np.float32]) -> float:
    """RMS in dB; silence counts as -400 dB, so that equal silence passes."""
    rms = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return float(20 * np.log10(max(rms, 1e-20)))


@pytest.mark.parametrize("samples", LENGTHS)
def test_two_stems_at_every_edge_of_the_segments(
    samples: int,
    two_stems: Engine,
    real_models: Path,
    long_song: NDArray[np.float32],
    table: Callable[[str], None],
) -> None:
    """Lengths of one sample, of less than a frame, and around the borders of segments."""
    _hold(two_stems, real_models, long_song[:samples], table)


def test_an_ogg_file_of_several_minutes(
    two_stems: Engine, real_models: Path, tmp_path: Path, table: Callable[[str], None]
) -> None:
    """A real compressed file, through the real decoder, over eighteen segments."""
    path = tmp_path / "song.ogg"
    with soundfile.SoundFile(path, "w", 44_100, 2, format="OGG", subtype="VORBIS") as file:
        for seed in range(OGG_SECONDS // 20):
            file.write(make_song(20.0, seed).mix)
    with Decoder(path) as source:
        mix = np.concatenate(list(source.blocks()))
    assert len(mix) == OGG_SECONDS * 44_100
    _hold(two_stems, real_models, mix, table)


def test_the_command_s_files_are_spleeter_s_stems(
    stemsplit: Callable[..., Any], real_models: Path, tmp_path: Path
) -> None:
    """From file to file through the installed command, over three segments, in both depths."""
    path = tmp_path / "song.wav"
    soundfile.write(path, make_song(30.0).mix, 44_100, subtype="PCM_24")
    mix, _ = soundfile.read(path, dtype="float32")
    spleeter = references.spleeter_stems("2stems", real_models, mix)
    for bit_depth, half_a_step in (("32f", 0.0), ("24", 2.0**-24)):
        ran = stemsplit("separate", path, "-o", bit_depth, "--bit-depth", bit_depth)
        assert ran.code == 0, ran.err
        for stem, theirs in spleeter.items():
            ours, rate = soundfile.read(tmp_path / bit_depth / "song" / f"{stem}.wav")
            assert rate == 44_100
            assert ours.shape == theirs.shape
            assert np.max(np.abs(ours - theirs)) <= FROM_SPLEETER + half_a_step


@pytest.mark.parametrize(
    ("model", "samples"),
    [
        ("2stems-16kHz", 600_000),
        ("4stems", 600_000),
        ("5stems", 600_000),
        ("5stems-16kHz", 530_000),
    ],
)
def test_every_kind_of_model(
    model: str,
    samples: int,
    long_song: NDArray[np.float32],
    tmp_path: Path,
    table: Callable[[str], None],
) -> None:
    """Random weights in the official layout take the real path through loading and network."""
    folder = write_random_weights(model, tmp_path, seed=len(model))
    engine = load(model, folder, threads=2)
    _hold(engine, tmp_path, long_song[:samples], table, most_apart=SAME_TRANSFORM_RANDOM)

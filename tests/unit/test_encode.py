"""Quantising, writing and checking stems."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from stemsplit.audio import encode
from stemsplit.errors import DiskFullError, StemsplitError, UnwritableError

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.job import StemFormat


def _writer(folder: Path, **changes: object) -> encode.StemWriter:
    options = {"stem_format": "wav", "bit_depth": "24", "expected_frames": 1, "channels": 2}
    return encode.StemWriter(folder, "vocals", **(options | changes))  # type: ignore[arg-type]


@given(st.floats(-1.5, 1.5, width=32), st.sampled_from([16, 24]))
def test_rounds_to_the_nearest_step_and_clamps(sample: float, bits: int) -> None:
    """A sample becomes the nearest of the depth's steps, or full scale where it is beyond it."""
    steps, clipped = encode.quantise(np.array([sample], np.float32), bits)
    scale = 2 ** (bits - 1)
    value = int(steps[0]) >> (32 - bits)
    exact = float(np.float32(sample)) * scale
    assert value == min(max(round(exact), -scale), scale - 1)
    assert clipped == (not -scale <= round(exact) <= scale - 1)


@pytest.mark.parametrize(
    ("stem_format", "bit_depth"),
    [("wav", "16"), ("wav", "24"), ("wav", "32f"), ("flac", "16"), ("flac", "24")],
)
def test_what_was_written_is_read_back(tmp_path: Path, stem_format: str, bit_depth: str) -> None:
    """Every format and depth that go together keep the samples to half a step."""
    samples = np.random.default_rng(1).uniform(-0.9, 0.9, (5_000, 2)).astype(np.float32)
    writer = _writer(tmp_path, stem_format=stem_format, bit_depth=bit_depth)
    writer.write(samples[:3_000])
    writer.write(samples[3_000:])
    stem, _ = writer.finish()
    read, rate = soundfile.read(tmp_path / f"vocals.{stem_format}", dtype="float64")
    assert rate == 44_100
    half_a_step = {"16": 2.0**-16, "24": 2.0**-24, "32f": 0.0}[bit_depth]
    assert np.max(np.abs(read - samples)) <= half_a_step
    assert abs(np.mean(read - samples)) <= half_a_step / 20, "rounding must not shift the signal"
    assert (stem.frames, stem.clipped_samples) == (5_000, 0)
    assert stem.peak == pytest.approx(np.max(np.abs(samples)))


def test_counts_what_it_clamps(tmp_path: Path) -> None:
    """Samples beyond full scale are clamped, never wrapped round, and counted."""
    writer = _writer(tmp_path, bit_depth="16")
    writer.write(np.array([[1.5, -1.5], [0.5, 1.0]], np.float32))
    stem, _ = writer.finish()
    read, _ = soundfile.read(tmp_path / "vocals.wav", dtype="int16")
    np.testing.assert_array_equal(read, [[32767, -32768], [16384, 32767]])
    assert stem.clipped_samples == 3
    assert stem.peak == 1.5


@pytest.mark.parametrize(
    ("stem_format", "frames", "container"),
    [("wav", 10**6, "WAV"), ("wav", 800_000_000, "RF64"), ("flac", 800_000_000, "FLAC")],
)
def test_a_wav_past_4_gib_is_rf64(stem_format: StemFormat, frames: int, container: str) -> None:
    """A plain WAV counts its bytes in 32 bits; past that, RF64 is chosen."""
    assert encode.container_of(stem_format, "24", frames, 2) == container


def test_samples_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    """An engine that produces NaN is an error, not a stem."""
    writer = _writer(tmp_path)
    with pytest.raises(StemsplitError, match="not finite"):
        writer.write(np.array([[np.nan, 0]], np.float32))


def test_a_shorter_file_than_was_written_is_an_error(tmp_path: Path) -> None:
    """The header is read back: a file that lost frames on the way does not pass."""
    writer = _writer(tmp_path)
    writer.write(np.zeros((100, 2), np.float32))
    writer._frames += 1
    with pytest.raises(UnwritableError, match="100 of 101 frames"):
        writer.finish()


def test_a_folder_that_is_not_there_is_unwritable(tmp_path: Path) -> None:
    """The sentence names the system's reason."""
    with pytest.raises(UnwritableError, match="No such file"):
        _writer(tmp_path / "absent")


def test_no_space_is_told_apart(tmp_path: Path) -> None:
    """ENOSPC is a full disk, whatever raised it; anything else is not."""
    full = encode.write_error(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(full, DiskFullError)
    other = encode.write_error(tmp_path, OSError(errno.EIO, "Input/output error"))
    assert isinstance(other, UnwritableError)

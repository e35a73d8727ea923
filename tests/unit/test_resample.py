"""Sample-rate conversion and channels, streamed."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from stemsplit.audio.resample import resample, to_stereo


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("frames", [1, 999, 65_536, 150_001])
def test_chunks_equal_the_whole(rate: int, frames: int) -> None:
    """Streamed conversion has the samples and the length of soxr's conversion of the whole."""
    samples = np.random.default_rng(rate).uniform(-1, 1, (frames, 2)).astype(np.float32)
    blocks = (samples[start : start + 10_000] for start in range(0, frames, 10_000))
    parts = list(resample(blocks, source_rate=rate, target_rate=44_100, channels=2))
    streamed = np.concatenate(parts) if parts else np.empty((0, 2), np.float32)
    whole = soxr.resample(samples, rate, 44_100, quality="VHQ")
    assert abs(len(streamed) - frames * 44_100 / rate) <= 1
    assert len(streamed) == len(whole)
    np.testing.assert_allclose(streamed, whole, atol=1e-6)


def test_equal_rates_pass_the_blocks_through() -> None:
    """At 44.1 kHz not a bit is touched."""
    block = np.ones((3, 1), np.float32)
    (passed,) = resample([block], source_rate=44_100, target_rate=44_100, channels=1)
    assert passed is block


def test_mono_plays_on_both_channels() -> None:
    """A mono stream becomes a stereo stream with equal channels; stereo stays as it is."""
    mono = np.arange(3, dtype=np.float32)[:, None]
    (stereo,) = to_stereo([mono])
    np.testing.assert_array_equal(stereo, np.repeat(mono, 2, axis=1))
    (same,) = to_stereo([stereo])
    np.testing.assert_array_equal(same, stereo)


def test_more_channels_are_refused_not_dropped() -> None:
    """Six channels are an error, never a silent loss of four."""
    with pytest.raises(ValueError, match="got 6"):
        list(to_stereo([np.zeros((3, 6), np.float32)]))

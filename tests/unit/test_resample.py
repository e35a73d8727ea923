"""Sample-rate conversion of streams."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from stemsplit.audio.resample import RateConverter, resample
from stemsplit.core.format_rates import frames_at


def _converted(samples: np.ndarray, source: int, target: int, block: int) -> np.ndarray:  # type: ignore[type-arg]
    blocks = (samples[start : start + block] for start in range(0, len(samples), block))
    converter = RateConverter(source, target, samples.shape[1])
    parts = resample(blocks, converter, lambda: frames_at(len(samples), source, target))
    return np.concatenate([np.empty((0, samples.shape[1]), np.float32), *parts])


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("frames", [1, 999, 65_536, 150_001])
def test_a_stream_equals_the_conversion_of_the_whole(rate: int, frames: int) -> None:
    """The samples equal those of soxr's conversion in one call."""
    samples = np.random.default_rng(rate).uniform(-1, 1, (frames, 2)).astype(np.float32)
    streamed = _converted(samples, rate, 44_100, 10_000)
    whole = soxr.resample(samples, rate, 44_100, quality="VHQ")
    assert len(streamed) == frames_at(frames, rate, 44_100)
    common = min(len(streamed), len(whole))
    assert abs(len(streamed) - len(whole)) <= 1
    np.testing.assert_allclose(streamed[:common], whole[:common], atol=1e-6)


def test_equal_rates_pass_the_blocks_through() -> None:
    """At 44.1 kHz the same array is returned."""
    block = np.ones((3, 1), np.float32)
    (passed,) = resample([block], RateConverter(44_100, 44_100, 1), lambda: 3)
    assert passed is block


@given(
    st.integers(1, 40_000),
    st.sampled_from([8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000]),
    st.integers(500, 9_000),
)
def test_a_round_trip_keeps_the_number_of_frames(frames: int, rate: int, block: int) -> None:
    """To the model's rate and back, at any rate, the length is exact."""
    samples = np.zeros((frames, 1), np.float32)
    converted = _converted(samples, rate, 44_100, block)
    if len(converted):
        converter = RateConverter(44_100, rate, 1)
        back = list(resample([converted], converter, lambda: frames))
        assert sum(map(len, back)) == frames


@pytest.mark.parametrize("target", [48_000, 96_000])
def test_the_pass_band_stays_within_a_hundredth_of_a_decibel(target: int) -> None:
    """44.1 kHz to another rate and back keeps levels up to 20 kHz and adds no images.

    The signal is twenty tones below full scale; each bin of the spectrum is compared.
    """
    rate, frames = 44_100, 1 << 17
    bins = np.linspace(10, 20_000 * frames / rate, 20).astype(int)
    time = np.arange(frames)
    tones = sum(np.sin(2 * np.pi * bin_ * time / frames + bin_) for bin_ in bins) / 40
    samples = np.asarray(tones, np.float32)[:, None]
    loop = np.tile(samples, (3, 1))  # the middle third contains no edges
    converted = _converted(loop, rate, target, 65_536)
    back = _converted(converted, target, rate, 65_536)[frames : 2 * frames, 0]
    before, after = (np.abs(np.fft.rfft(signal)) for signal in (samples[:, 0], back))
    changes = 20 * np.log10(after[bins] / before[bins])
    assert np.max(np.abs(changes)) < 0.01
    rest = np.delete(after, bins)
    assert 20 * np.log10(np.max(rest) / np.max(before)) < -120

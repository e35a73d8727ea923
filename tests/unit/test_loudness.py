"""Loudness and true peak of signals with known values."""

from __future__ import annotations

import av
import numpy as np
import pytest

from stemsplit.audio.channels import DEFAULT_LAYOUTS
from stemsplit.audio.loudness import LoudnessMeter

if not hasattr(av.AudioFrame, "metadata"):
    pytest.skip("this PyAV does not expose the results of filters", allow_module_level=True)


def _measured(samples: np.ndarray, rate: int, channels: tuple[str, ...]) -> LoudnessMeter:  # type: ignore[type-arg]
    meter = LoudnessMeter(rate, channels)
    for start in range(0, len(samples), 7_000):
        meter.add(samples[start : start + 7_000])
    meter.finish()
    return meter


def _tone(rate: int, decibels: float, seconds: float, channels: int) -> np.ndarray:  # type: ignore[type-arg]
    time = np.arange(round(seconds * rate)) / rate
    tone = 10 ** (decibels / 20) * np.sin(2 * np.pi * 1000 * time)
    return np.repeat(tone[:, None], channels, axis=1).astype(np.float32)


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("decibels", [-23.0, -33.0])
def test_a_stereo_tone_has_the_loudness_of_its_level(rate: int, decibels: float) -> None:
    """EBU Tech 3341, minimum requirements, cases 1 and 2: 1 kHz in stereo, within 0.1 LU."""
    meter = _measured(_tone(rate, decibels, 20, 2), rate, ("FL", "FR"))
    assert meter.loudness_lufs == pytest.approx(decibels, abs=0.1)
    assert meter.loudness_range_lu == pytest.approx(0, abs=0.1)


def test_the_gate_excludes_quiet_parts() -> None:
    """EBU Tech 3341, case 3: parts much quieter than the rest do not count."""
    parts = [
        _tone(48_000, level, seconds, 2) for level, seconds in [(-36, 10), (-23, 60), (-36, 10)]
    ]
    meter = _measured(np.concatenate(parts), 48_000, ("FL", "FR"))
    assert meter.loudness_lufs == pytest.approx(-23, abs=0.1)


def test_surround_channels_weigh_more() -> None:
    """EBU Tech 3341, case 6: 5.1 with -28 at the front, -24 in the centre, -30 at the back."""
    levels = [-28, -28, -24, -300, -30, -30]
    tones = np.concatenate([_tone(48_000, level, 20, 1) for level in levels], axis=1)
    meter = _measured(tones, 48_000, DEFAULT_LAYOUTS[6])
    assert meter.loudness_lufs == pytest.approx(-23, abs=0.1)


def test_true_peak_includes_peaks_between_samples() -> None:
    """The samples of a tone at a quarter of the rate all miss its peaks by 3 dB."""
    time = np.arange(48_000)
    tone = 0.5 * np.sin(np.pi / 2 * time + np.pi / 4) * np.hanning(len(time))
    meter = _measured(np.repeat(tone[:, None], 2, axis=1).astype(np.float32), 48_000, ("FL", "FR"))
    assert np.max(np.abs(tone)) == pytest.approx(0.5 * np.sqrt(0.5), rel=1e-3)
    assert meter.true_peak == pytest.approx(0.5, rel=0.03)


def test_silence_and_very_short_streams_have_no_loudness() -> None:
    """The result is None, not minus infinity."""
    assert _measured(np.zeros((48_000, 1), np.float32), 48_000, ("FC",)).loudness_lufs is None
    short = _measured(np.ones((10, 1), np.float32), 48_000, ("FC",))
    assert short.loudness_lufs is None

"""The synthetic song and its score."""

from __future__ import annotations

import numpy as np
import pytest

from stemsplit.api.demo.run import si_sdr
from stemsplit.api.demo.song import make_song


def test_the_song_is_always_the_same() -> None:
    """The same arguments return the same samples; another seed returns different ones."""
    first, again, other = make_song(2.0), make_song(2.0), make_song(2.0, seed=1)
    np.testing.assert_array_equal(first.mix, again.mix)
    assert np.max(np.abs(first.mix - other.mix)) > 0.01


@pytest.mark.parametrize("seconds", [0.5, 3.0, 20.0])
def test_the_song_has_the_requested_length_and_does_not_clip(seconds: float) -> None:
    """Both stems are audible, and their sum is below full scale."""
    song = make_song(seconds)
    for stem in (song.vocals, song.accompaniment):
        assert stem.shape == (round(seconds * 44_100), 2)
        assert np.sqrt(np.mean(stem**2)) > 0.01
    assert np.max(np.abs(song.mix)) < 1


def test_si_sdr_of_known_noise() -> None:
    """Orthogonal noise with a tenth of the amplitude results in 20 dB, at any gain."""
    time = np.arange(44_100) / 44_100
    truth = np.sin(2 * np.pi * 440 * time).astype(np.float32)[:, None]
    noise = np.cos(2 * np.pi * 440 * time).astype(np.float32)[:, None]
    assert si_sdr(truth + 0.1 * noise, truth) == pytest.approx(20, abs=1e-3)
    assert si_sdr(5 * (truth + 0.1 * noise), truth) == pytest.approx(20, abs=1e-3)
    assert si_sdr(truth, truth) > 100

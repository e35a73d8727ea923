"""Mixing any channel layout down to stereo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stemsplit.audio.channels import DEFAULT_LAYOUTS, mix_down
from stemsplit.core.errors import BadInputError

SONG = Path("song.wav")
HALF_POWER = 10 ** (-3.0103 / 20)


def _mixed(samples: object, channels: tuple[str, ...]) -> np.ndarray:  # type: ignore[type-arg]
    (mixed,) = mix_down([np.asarray(samples, np.float32)], channels, SONG)
    return mixed


def test_mono_plays_on_both_channels_and_stereo_stays() -> None:
    """Mono becomes stereo with equal channels; stereo is unchanged."""
    mono = np.arange(3, dtype=np.float32)[:, None]
    stereo = _mixed(mono, ("FC",))
    np.testing.assert_array_equal(stereo, np.repeat(mono, 2, axis=1))
    np.testing.assert_array_equal(_mixed(stereo, ("FL", "FR")), stereo)


@pytest.mark.parametrize(
    ("channel", "left", "right"),
    [
        ("FL", 1, 0),
        ("FR", 0, 1),
        ("FC", HALF_POWER, HALF_POWER),
        ("LFE", HALF_POWER, HALF_POWER),
        ("BL", HALF_POWER, 0),
        ("BR", 0, HALF_POWER),
        ("SL", HALF_POWER, 0),
        ("SR", 0, HALF_POWER),
    ],
)
def test_gains_of_7_1_are_those_of_the_standard(channel: str, left: float, right: float) -> None:
    """Each channel separately; the coefficients of ITU-R BS.775."""
    layout = DEFAULT_LAYOUTS[8]
    samples = np.zeros((1, 8))
    samples[0, layout.index(channel)] = 1
    np.testing.assert_allclose(_mixed(samples, layout), [[left, right]], atol=1e-5)


@pytest.mark.parametrize("count", sorted(DEFAULT_LAYOUTS))
def test_no_channel_of_a_default_layout_is_lost(count: int) -> None:
    """A signal in any one channel is in the mix."""
    for index in range(count):
        samples = np.zeros((1, count))
        samples[0, index] = 0.5
        assert np.any(_mixed(samples, DEFAULT_LAYOUTS[count]))


def test_unknown_channels_are_refused() -> None:
    """Sixteen unnamed channels, or one position without a rule, are an error."""
    with pytest.raises(BadInputError, match="16 channels"):
        _mixed(np.zeros((1, 16)), ("?",) * 16)
    with pytest.raises(BadInputError, match="mixing TFC down"):
        _mixed(np.zeros((1, 3)), ("FL", "FR", "TFC"))

"""Any number of channels down to two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stemsplit.audio.channels import USUAL, mix_down
from stemsplit.core.errors import BadInputError

SONG = Path("song.wav")
HALF_POWER = 10 ** (-3.0103 / 20)


def _mixed(samples: object, channels: tuple[str, ...]) -> np.ndarray:  # type: ignore[type-arg]
    (mixed,) = mix_down([np.asarray(samples, np.float32)], channels, SONG)
    return mixed


def test_mono_plays_on_both_channels_and_stereo_stays() -> None:
    """A mono stream becomes a stereo stream with equal channels; stereo is not touched."""
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
def test_each_channel_of_7_1_goes_where_the_standard_says(
    channel: str, left: float, right: float
) -> None:
    """One channel at a time: the coefficients of ITU-R BS.775."""
    layout = USUAL[8]
    samples = np.zeros((1, 8))
    samples[0, layout.index(channel)] = 1
    np.testing.assert_allclose(_mixed(samples, layout), [[left, right]], atol=1e-5)


@pytest.mark.parametrize("count", sorted(USUAL))
def test_no_usual_channel_is_lost(count: int) -> None:
    """Whichever channel has a signal, the mix has one."""
    for index in range(count):
        samples = np.zeros((1, count))
        samples[0, index] = 0.5
        assert np.any(_mixed(samples, USUAL[count]))


def test_channels_that_nobody_has_arranged_are_refused() -> None:
    """Sixteen nameless channels, or one in a place without a rule: a sentence, never a guess."""
    with pytest.raises(BadInputError, match="16 channels"):
        _mixed(np.zeros((1, 16)), ("?",) * 16)
    with pytest.raises(BadInputError, match="mixing TFC down"):
        _mixed(np.zeros((1, 3)), ("FL", "FR", "TFC"))

"""Runs in both. Channels of any arrangement to the two that Spleeter's models take.

The coefficients are those of ITU-R BS.775-4, annex 4: a channel in the middle or at the back goes
to either side, or to both, at -3 dB. The recommendation leaves the channel for low frequencies to
the implementer, and players often drop it; here it is treated as one in the middle, so that nothing
is lost. The result is not scaled down: samples are floating point, and may go beyond full scale.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.core.errors import BadInputError
from stemsplit.core.settings import STEREO
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_HALF_POWER = math.sqrt(0.5)
"""-3 dB."""

_GAINS = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (_HALF_POWER, _HALF_POWER),
    "LFE": (_HALF_POWER, _HALF_POWER),
    "BL": (_HALF_POWER, 0.0),
    "BR": (0.0, _HALF_POWER),
    "SL": (_HALF_POWER, 0.0),
    "SR": (0.0, _HALF_POWER),
    "BC": (0.5, 0.5),  # to both sides at the back, and from there as BL and BR
    "FLC": (1.0, 0.0),
    "FRC": (0.0, 1.0),
    "DL": (1.0, 0.0),
    "DR": (0.0, 1.0),
}
"""How much of each channel goes to the left and to the right, by FFmpeg's names of channels."""

PLACES = frozenset(_GAINS)
"""The channels that have a rule."""

STEREO_PLACES = ("FL", "FR")

USUAL = {
    1: ("FC",),
    2: STEREO_PLACES,
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""The order of channels where a file does not say, by their number (RFC 9639, section 9.1.3)."""


def mix_down(
    blocks: Iterable[NDArray[np.float32]], channels: Sequence[str], path: Path
) -> Iterator[NDArray[np.float32]]:
    """Bring a stream to two channels; mono is played on both at its full level.

    Args:
        blocks: `(frames, channels)` float32.
        channels: the name of each channel.
        path: the file, for the error.

    Yields:
        `(frames, 2)` float32.

    Raises:
        BadInputError: if it has channels of which no one has said where they belong.
    """
    if len(channels) in {1, STEREO}:
        for block in blocks:
            yield np.broadcast_to(block, (len(block), STEREO))
        return
    unknown = [name for name in channels if name not in _GAINS]
    if unknown or not channels:
        raise BadInputError(
            f"{quoted(path.name)} has {len(channels)} channels, and there is no rule for mixing "
            f"{', '.join(sorted(set(unknown) - {'?'})) or 'them'} down to stereo.",
            "Say which goes where, for example with "
            "`ffmpeg -i IN -af 'pan=stereo|FL=c0|FR=c1' OUT.flac`.",
        )
    gains = np.array([_GAINS[name] for name in channels], np.float32)
    for block in blocks:
        yield block @ gains


def gains_between(channels: Sequence[str], targets: Sequence[str]) -> NDArray[np.float32]:
    """Return how much of each channel goes to each of another arrangement.

    For files that change their arrangement on their way. Channels without a rule stay in order.

    Args:
        channels: the name of each channel there is.
        targets: the name of each channel there is to be.

    Returns:
        `(channels, targets)` float32, to multiply samples with.
    """
    gains = np.zeros((len(channels), len(targets)), np.float32)
    if tuple(channels) == tuple(targets) or not set(channels) <= PLACES:
        np.fill_diagonal(gains, 1.0)
        return gains
    stereo = np.array([_GAINS[name] for name in channels], np.float32)
    if len(channels) == 1:
        stereo = np.ones((1, STEREO), np.float32)
    if len(targets) == 1:
        return stereo.mean(axis=1, keepdims=True, dtype=np.float32)
    left, right = (
        targets.index(name) if name in targets else number
        for number, name in enumerate(STEREO_PLACES)
    )
    gains[:, left], gains[:, right] = stereo.T
    return gains

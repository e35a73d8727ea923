"""Runs in the child. Mixes any channel layout down to the stereo that Spleeter's models require.

The coefficients are those of ITU-R BS.775-4, annex 4: a centre or back channel goes to one side or
to both at -3 dB. The recommendation leaves the low-frequency channel to the implementer, and
players often drop it. Here it is treated as a centre channel, so that nothing is lost. The mix is
not scaled down: samples are floating point and may exceed full scale.
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

_STEREO_GAINS = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (_HALF_POWER, _HALF_POWER),
    "LFE": (_HALF_POWER, _HALF_POWER),
    "BL": (_HALF_POWER, 0.0),
    "BR": (0.0, _HALF_POWER),
    "SL": (_HALF_POWER, 0.0),
    "SR": (0.0, _HALF_POWER),
    "BC": (0.5, 0.5),  # to both back channels, and from there as BL and BR
    "FLC": (1.0, 0.0),
    "FRC": (0.0, 1.0),
    "DL": (1.0, 0.0),
    "DR": (0.0, 1.0),
}
"""Gains to left and right, by FFmpeg's name of the channel (its loudspeaker position)."""

KNOWN_CHANNELS = frozenset(_STEREO_GAINS)
"""Channels that can be mixed down."""

STEREO_CHANNELS = ("FL", "FR")

DEFAULT_LAYOUTS = {
    1: ("FC",),
    2: STEREO_CHANNELS,
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""Channel order of files that do not declare it, by channel count (RFC 9639, section 9.1.3)."""


def default_channels(count: int) -> tuple[str, ...]:
    """Return the channels of a file that does not name them; `?` for each if there is no rule."""
    return DEFAULT_LAYOUTS.get(count, ("?",) * count)


def mix_down(
    blocks: Iterable[NDArray[np.float32]], channels: Sequence[str], path: Path
) -> Iterator[NDArray[np.float32]]:
    """Mix a stream down to stereo; mono goes to both channels at full level.

    Args:
        blocks: `(frames, channels)` float32.
        channels: name of each channel.
        path: path of the file, for the error message.

    Yields:
        `(frames, 2)` float32.

    Raises:
        BadInputError: if the loudspeaker position of a channel is unknown.
    """
    if len(channels) in {1, STEREO}:
        for block in blocks:
            yield np.broadcast_to(block, (len(block), STEREO))
        return
    unknown = [name for name in channels if name not in KNOWN_CHANNELS]
    if unknown or not channels:
        raise BadInputError(
            f"{quoted(path.name)} has {len(channels)} channels, and there is no rule for mixing "
            f"{', '.join(sorted(set(unknown) - {'?'})) or 'them'} down to stereo.",
            "Mix it down first, for example with "
            "`ffmpeg -i IN -af 'pan=stereo|FL=c0|FR=c1' OUT.flac`.",
        )
    gains = np.array([_STEREO_GAINS[name] for name in channels], np.float32)
    for block in blocks:
        yield block @ gains


def conversion_matrix(channels: Sequence[str], targets: Sequence[str]) -> NDArray[np.float32]:
    """Return the gain from each channel to each channel of another layout.

    For files whose layout changes midway. Channels with unknown positions keep their order.

    Args:
        channels: name of each channel of the samples.
        targets: name of each channel to convert to.

    Returns:
        `(channels, targets)` float32; multiply samples by it from the right.
    """
    gains = np.zeros((len(channels), len(targets)), np.float32)
    if tuple(channels) == tuple(targets) or not set(channels) <= KNOWN_CHANNELS:
        np.fill_diagonal(gains, 1.0)
        return gains
    stereo = np.array([_STEREO_GAINS[name] for name in channels], np.float32)
    if len(channels) == 1:
        stereo = np.ones((1, STEREO), np.float32)
    if len(targets) == 1:
        return stereo.mean(axis=1, keepdims=True, dtype=np.float32)
    left, right = (
        targets.index(name) if name in targets else number
        for number, name in enumerate(STEREO_CHANNELS)
    )
    gains[:, left], gains[:, right] = stereo.T
    return gains

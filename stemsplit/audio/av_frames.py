"""Runs in the child. Converts samples to PyAV's audio frames and back."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FULL_SCALE = {"u1": 2.0**7, "i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63}
_PACKED_FORMATS = {"i2": "s16", "i4": "s32", "f4": "flt"}
"""FFmpeg's sample format for each NumPy type."""


class FrameBuilder:
    """Builds the frames of one stream.

    Args:
        sample_rate: in Hz.
        channels: name of each channel.

    Attributes:
        layout: FFmpeg's name of the channel layout.
    """

    def __init__(self, sample_rate: int, channels: Sequence[str]) -> None:
        self.layout = "mono" if len(channels) == 1 else "+".join(channels)
        self._rate = sample_rate
        self._position = 0

    def build(self, samples: NDArray[Any]) -> av.AudioFrame:
        """Return the next frame, from `(frames, channels)` of int16, int32 or float32."""
        frame = av.AudioFrame.from_ndarray(
            samples.reshape(1, -1),
            format=_PACKED_FORMATS[samples.dtype.str[1:]],
            layout=self.layout,
        )
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._position
        self._position += len(samples)
        return frame


def samples_of(frame: av.AudioFrame) -> NDArray[np.float32]:
    """Return the samples of a frame of any sample format.

    Returns:
        `(frames, channels)` float32; integers are scaled to a full scale of -1..1.
    """
    raw: NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, len(frame.layout.channels)).T
    scale = _FULL_SCALE.get(raw.dtype.str[1:])
    if scale is None:
        return np.ascontiguousarray(raw.T, np.float32)
    samples = raw.T.astype(np.float64)
    if raw.dtype.kind == "u":
        samples -= scale
    return np.ascontiguousarray(samples / scale, np.float32)

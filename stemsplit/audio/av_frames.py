"""Runs in both. Samples to PyAV's frames, and back."""

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
"""FFmpeg's names of sample formats, by NumPy's of numbers."""


def layout_of(channels: Sequence[str]) -> str:
    """Give FFmpeg's word for an arrangement of named channels."""
    return "mono" if len(channels) == 1 else "+".join(channels)


class FrameMaker:
    """Makes the frames of one stream.

    Args:
        sample_rate: in Hz.
        channels: the name of each.
    """

    def __init__(self, sample_rate: int, channels: Sequence[str]) -> None:
        """Begin a stream."""
        self.layout = layout_of(channels)
        self._rate = sample_rate
        self._at = 0

    def frame(self, samples: NDArray[Any]) -> av.AudioFrame:
        """Take the next `(frames, channels)` of int16, int32 or float32."""
        made = av.AudioFrame.from_ndarray(
            samples.reshape(1, -1),
            format=_PACKED_FORMATS[samples.dtype.str[1:]],
            layout=self.layout,
        )
        made.sample_rate = self._rate
        made.time_base = Fraction(1, self._rate)
        made.pts = self._at
        self._at += len(samples)
        return made


def samples_of(frame: av.AudioFrame) -> NDArray[np.float32]:
    """Turn a frame into samples.

    Args:
        frame: an `av.AudioFrame` of any sample format.

    Returns:
        `(frames, channels)` float32, integers scaled so that full scale is -1..1.
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

"""Runs in both. Loudness and true peak of a stream, by FFmpeg's filter `ebur128`."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import av.error
import av.filter

from stemsplit.audio.av_frames import FrameMaker
from stemsplit.audio.channels import PLACES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

_SILENCE_LUFS = -70.0
"""The absolute gate: what is softer does not count (ITU-R BS.1770-5, annex 1)."""


class LoudnessMeter:
    """Measures one stream.

    Args:
        sample_rate: in Hz.
        channels: the name of each, which decides its weight.
    """

    def __init__(self, sample_rate: int, channels: Sequence[str]) -> None:
        """Set the filter up."""
        self._maker = FrameMaker(sample_rate, channels)
        self._found: dict[str, str] = {}
        graph = av.filter.Graph()
        self._source = graph.add_abuffer(
            sample_rate=sample_rate,
            format="flt",
            layout=self._maker.layout,
            time_base=Fraction(1, sample_rate),
        )
        meter = graph.add("ebur128", "metadata=1:peak=true:framelog=quiet")
        self._sink = graph.add("abuffersink")
        self._source.link_to(meter)
        meter.link_to(self._sink)
        graph.configure()
        self._graph = graph

    @classmethod
    def of(cls, sample_rate: int, channels: Sequence[str]) -> Self | None:
        """Make one; None for channels of which nobody knows where they belong."""
        known = len(channels) == 1 or set(channels) <= PLACES
        return cls(sample_rate, channels) if known else None

    def add(self, samples: NDArray[np.float32]) -> None:
        """Take `(frames, channels)` float32."""
        self._source.push(self._maker.frame(samples))
        self._pull()

    def finish(self) -> None:
        """Take the end of the stream."""
        self._source.push(None)
        self._pull()

    def _pull(self) -> None:
        while True:
            try:
                frame = self._sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            # PyAV 17, the last one for Python 3.10, does not show what a filter has found.
            self._found = dict(getattr(frame, "metadata", {})) or self._found

    @property
    def loudness_lufs(self) -> float | None:
        """Integrated loudness; None for silence or a stream of less than 0.4 s."""
        value = self._value("I")
        return None if value is None or value <= _SILENCE_LUFS else value

    @property
    def loudness_range_lu(self) -> float | None:
        """The range from soft to loud; None likewise."""
        return None if self.loudness_lufs is None else self._value("LRA")

    @property
    def true_peak(self) -> float | None:
        """The largest absolute value between samples; None for a stream that is too short."""
        return self._value("true_peak")

    def _value(self, name: str) -> float | None:
        value = float(self._found.get(f"lavfi.r128.{name}", "nan"))
        return value if math.isfinite(value) else None

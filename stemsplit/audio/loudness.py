"""Runs in the child. Measures loudness and true peak of a stream with FFmpeg's filter `ebur128`."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import av.error
import av.filter

from stemsplit.audio.av_frames import FrameBuilder
from stemsplit.audio.channels import KNOWN_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

_ABSOLUTE_GATE_LUFS = -70.0
"""Blocks below the absolute gate do not count (ITU-R BS.1770-5, annex 1)."""


class LoudnessMeter:
    """Measures one stream.

    Args:
        sample_rate: in Hz.
        channels: name of each channel, which determines its weight.
    """

    def __init__(self, sample_rate: int, channels: Sequence[str]) -> None:
        self._frame_builder = FrameBuilder(sample_rate, channels)
        self._metadata: dict[str, str] = {}
        graph = av.filter.Graph()
        self._source = graph.add_abuffer(
            sample_rate=sample_rate,
            format="flt",
            layout=self._frame_builder.layout,
            time_base=Fraction(1, sample_rate),
        )
        meter = graph.add("ebur128", "metadata=1:peak=true:framelog=quiet")
        self._sink = graph.add("abuffersink")
        self._source.link_to(meter)
        meter.link_to(self._sink)
        graph.configure()
        self._graph = graph

    @classmethod
    def for_channels(cls, sample_rate: int, channels: Sequence[str]) -> Self | None:
        """Return a meter; None if the loudspeaker position of a channel is unknown."""
        is_known = len(channels) == 1 or set(channels) <= KNOWN_CHANNELS
        return cls(sample_rate, channels) if is_known else None

    def add(self, samples: NDArray[np.float32]) -> None:
        """Add `(frames, channels)` float32."""
        self._source.push(self._frame_builder.build(samples))
        self._pull()

    def finish(self) -> None:
        """End the stream."""
        self._source.push(None)
        self._pull()

    def _pull(self) -> None:
        while True:
            try:
                frame = self._sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            # PyAV 17, the last version for Python 3.10, does not expose the results of filters.
            self._metadata = dict(getattr(frame, "metadata", {})) or self._metadata

    @property
    def loudness_lufs(self) -> float | None:
        """Integrated loudness; None for silence and for a stream of less than 0.4 s."""
        value = self._value("I")
        return None if value is None or value <= _ABSOLUTE_GATE_LUFS else value

    @property
    def loudness_range_lu(self) -> float | None:
        """Loudness range (EBU Tech 3342); None likewise."""
        return None if self.loudness_lufs is None else self._value("LRA")

    @property
    def true_peak(self) -> float | None:
        """Largest absolute value between samples; None for a stream that is too short."""
        return self._value("true_peak")

    def _value(self, name: str) -> float | None:
        value = float(self._metadata.get(f"lavfi.r128.{name}", "nan"))
        return value if math.isfinite(value) else None

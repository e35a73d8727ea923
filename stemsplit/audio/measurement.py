"""Runs in both. What can be found out about a file by reading it to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.audio.bit_usage import MOST_INTEGER_BITS, UsedBits
from stemsplit.audio.decode import Decoder
from stemsplit.audio.levels import peak_of
from stemsplit.core.inspection_result import Measurement

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.core.audio_info import AudioInfo


def _used_bits(used: UsedBits, info: AudioInfo) -> int | None:
    """Give the bits used, as far as float32 can tell: no more than it has at full scale."""
    bits = None if info.bits is None else used.bits
    return None if bits is None or bits > MOST_INTEGER_BITS else bits


def measure(path: Path) -> Measurement:
    """Read a file and measure it; memory does not depend on its length.

    Raises:
        BadInputError: if it cannot be read.
    """
    from stemsplit.audio.loudness import LoudnessMeter

    with Decoder(path) as source:
        is_pcm = source.info.bits is not None
        used, peak = UsedBits(), 0.0
        meter = LoudnessMeter.of(source.info.sample_rate, source.channels)
        for block in source.blocks():
            peak = max(peak, peak_of(block))
            if meter is not None:
                meter.add(block)
            if is_pcm:
                used.add(block)
        if meter is not None:
            meter.finish()
        true_peak = None if meter is None else meter.true_peak
        loss = source.loss()
        return Measurement(
            info=source.info,
            channels=source.channels,
            frames=source.frames_given,
            size_bytes=path.stat().st_size,
            used_bits=_used_bits(used, source.info),
            peak=peak,
            # The filter rounds, and leaves the last incomplete tenth of a second out.
            true_peak=None if true_peak is None else max(true_peak, peak),
            loudness_lufs=None if meter is None else meter.loudness_lufs,
            loudness_range_lu=None if meter is None else meter.loudness_range_lu,
            warning="" if loss is None else loss.text,
            notes=source.notes(),
        )

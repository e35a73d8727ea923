"""Runs in the child. Measures an audio file by reading it to its end (`stemsplit inspect`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.audio.bit_usage import MAX_EXACT_BITS, BitUsageMeter
from stemsplit.audio.decode import Decoder
from stemsplit.audio.levels import peak_of
from stemsplit.core.audio_info import Measurement

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.core.audio_info import AudioInfo


def measure(path: Path) -> Measurement:
    """Read a file and measure it, in memory that does not depend on its length.

    Raises:
        BadInputError: if the file is not readable.
    """
    from stemsplit.audio.loudness import LoudnessMeter

    with Decoder(path) as source:
        is_pcm = source.info.bits is not None
        bit_usage, peak = BitUsageMeter(), 0.0
        meter = LoudnessMeter.for_channels(source.info.sample_rate, source.channels)
        for block in source.blocks():
            peak = max(peak, peak_of(block))
            if meter is not None:
                meter.add(block)
            if is_pcm:
                bit_usage.add(block)
        if meter is not None:
            meter.finish()
        true_peak = None if meter is None else meter.true_peak
        loss = source.loss()
        return Measurement(
            info=source.info,
            channels=source.channels,
            frames=source.frames_read,
            size_bytes=path.stat().st_size,
            used_bits=_used_bits(bit_usage, source.info),
            peak=peak,
            # The filter rounds, and ignores the last incomplete tenth of a second.
            true_peak=None if true_peak is None else max(true_peak, peak),
            loudness_lufs=None if meter is None else meter.loudness_lufs,
            loudness_range_lu=None if meter is None else meter.loudness_range_lu,
            warning="" if loss is None else loss.text,
            notes=source.notes(),
        )


def _used_bits(bit_usage: BitUsageMeter, info: AudioInfo) -> int | None:
    """Return the used bits; None for lossy files and for depths that float32 cannot represent."""
    bits = None if info.bits is None else bit_usage.bits
    return None if bits is None or bits > MAX_EXACT_BITS else bits

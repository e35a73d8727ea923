"""Runs in both. Sample rates and bit rates that each output format supports. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stemsplit.core.errors import UsageError

if TYPE_CHECKING:
    from stemsplit.core.audio_info import AudioInfo, PcmDepth
    from stemsplit.core.settings import BitDepth, SampleRate, StemFormat

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 192_000
"""Range of the sample rate that a user can choose, in Hz."""

MAX_FLAC_CHANNELS = 8
MAX_FLAC_RATE, MAX_VORBIS_RATE = 655_350, 192_000
"""Highest sample rates in Hz: RFC 9639, section 9.1.2; libvorbis has no modes beyond."""

_MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_AAC_RATES = (*_MPEG_RATES, 64_000, 88_200, 96_000)
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossyFormat:
    """Rates of a lossy format.

    Attributes:
        sample_rates: supported rates in Hz, ascending; None for any.
        bit_rate: default for two channels in bit/s: the codec's point of transparency, rounded up.
        min_bit_rate, max_bit_rate: supported range in bit/s.
    """

    sample_rates: tuple[int, ...] | None
    bit_rate: int
    min_bit_rate: int
    max_bit_rate: int


LOSSY: Final[dict[StemFormat, LossyFormat]] = {
    "mp3": LossyFormat(
        sample_rates=_MPEG_RATES, bit_rate=320_000, min_bit_rate=32_000, max_bit_rate=320_000
    ),
    "ogg": LossyFormat(
        sample_rates=None, bit_rate=256_000, min_bit_rate=64_000, max_bit_rate=500_000
    ),
    "opus": LossyFormat(
        sample_rates=_OPUS_RATES, bit_rate=192_000, min_bit_rate=16_000, max_bit_rate=510_000
    ),
    "m4a": LossyFormat(
        sample_rates=_AAC_RATES, bit_rate=256_000, min_bit_rate=32_000, max_bit_rate=512_000
    ),
}


def require_possible(
    stem_format: StemFormat, sample_rate: SampleRate, bit_rate: int | None
) -> None:
    """Refuse a rate that a format does not support.

    44.1 kHz is always accepted: Opus, which lacks it, uses 48 kHz instead.

    Raises:
        UsageError: if the sample rate or the bit rate is not supported.
    """
    lossy = LOSSY.get(stem_format)
    if sample_rate != "source" and not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise UsageError(
            f"Unsupported sample rate: {sample_rate} Hz.",
            f"Use a rate from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}, or source.",
        )
    if lossy is None:
        if bit_rate is not None:
            raise UsageError(
                f"The bit rate of {stem_format} cannot be set.",
                "Remove --bitrate, or use --format mp3, ogg, opus or m4a.",
            )
        return
    if bit_rate is not None and not lossy.min_bit_rate <= bit_rate <= lossy.max_bit_rate:
        raise UsageError(
            f"The {stem_format} format does not support {bit_rate / 1000:g} kbit/s.",
            f"Use {lossy.min_bit_rate // 1000}k to {lossy.max_bit_rate // 1000}k.",
        )
    if sample_rate in {"source", 44_100} or lossy.sample_rates is None:
        return
    if sample_rate not in lossy.sample_rates:
        rates = ", ".join(map(str, lossy.sample_rates))
        raise UsageError(
            f"The {stem_format} format does not support {sample_rate} Hz.", f"Use one of {rates}."
        )


def stem_rate(stem_format: StemFormat, sample_rate: SampleRate, source_rate: int) -> int:
    """Return the rate of stems in Hz: the wanted one, or the next that the format supports."""
    wanted = source_rate if sample_rate == "source" else sample_rate
    most = {"flac": MAX_FLAC_RATE, "ogg": MAX_VORBIS_RATE}.get(stem_format, wanted)
    wanted = min(wanted, most)
    lossy = LOSSY.get(stem_format)
    if lossy is None or lossy.sample_rates is None or wanted in lossy.sample_rates:
        return wanted
    return next((rate for rate in lossy.sample_rates if rate > wanted), lossy.sample_rates[-1])


def stem_depth(stem_format: StemFormat, bit_depth: BitDepth, source: AudioInfo) -> PcmDepth:
    """Return the bit depth of stems: the wanted one, or the least that preserves the source.

    A lossy source has no bit depth; 24 bits exceed its precision.
    """
    if bit_depth != "source":
        return bit_depth
    if source.bits is None:
        return "24"
    if source.floating or source.bits > 24:  # noqa: PLR2004 - most bits of an integer sample
        return "24" if stem_format == "flac" else "32f"
    return "16" if source.bits <= 16 else "24"  # noqa: PLR2004


def frames_at(frames: int, source_rate: int, target_rate: int) -> int:
    """Return the number of frames after resampling, rounded to the nearest."""
    return (2 * frames * target_rate + source_rate) // (2 * source_rate)

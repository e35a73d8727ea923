"""Runs in both. What each format of stems can hold: sample rates and bit rates. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stemsplit.core.errors import UsageError

if TYPE_CHECKING:
    from stemsplit.core.audio_info import AudioInfo, PcmDepth
    from stemsplit.core.settings import BitDepth, SampleRate, StemFormat

LEAST_SAMPLE_RATE, MOST_SAMPLE_RATE = 8_000, 192_000
"""In Hz, that can be asked for."""

MOST_FLAC_CHANNELS = 8
MOST_FLAC_RATE, MOST_VORBIS_RATE = 655_350, 192_000
"""In Hz: RFC 9639, section 9.1.2; libvorbis has no settings beyond."""

_MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_AAC_RATES = (*_MPEG_RATES, 64_000, 88_200, 96_000)
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossyFormat:
    """A format that keeps what is heard, at so many bits a second.

    Attributes:
        sample_rates: that it can have, in Hz, in ascending order; None is any.
        bit_rate: where none is asked for, in bits a second for two channels: each codec's
            region of transparency, rounded up.
        least_bit_rate, most_bit_rate: that it can have.
    """

    sample_rates: tuple[int, ...] | None
    bit_rate: int
    least_bit_rate: int
    most_bit_rate: int


LOSSY: Final[dict[StemFormat, LossyFormat]] = {
    "mp3": LossyFormat(
        sample_rates=_MPEG_RATES, bit_rate=320_000, least_bit_rate=32_000, most_bit_rate=320_000
    ),
    "ogg": LossyFormat(
        sample_rates=None, bit_rate=256_000, least_bit_rate=64_000, most_bit_rate=500_000
    ),
    "opus": LossyFormat(
        sample_rates=_OPUS_RATES, bit_rate=192_000, least_bit_rate=16_000, most_bit_rate=510_000
    ),
    "m4a": LossyFormat(
        sample_rates=_AAC_RATES, bit_rate=256_000, least_bit_rate=32_000, most_bit_rate=512_000
    ),
}


def require_possible(
    stem_format: StemFormat, sample_rate: SampleRate, bit_rate: int | None
) -> None:
    """Refuse a rate that a format cannot have.

    Opus is the exception: it has no 44.1 kHz, and takes 48 kHz in its place.

    Raises:
        UsageError: with what it can have.
    """
    lossy = LOSSY.get(stem_format)
    if sample_rate != "source" and not LEAST_SAMPLE_RATE <= sample_rate <= MOST_SAMPLE_RATE:
        raise UsageError(
            f"The sample rate cannot be {sample_rate} Hz.",
            f"Write one from {LEAST_SAMPLE_RATE} to {MOST_SAMPLE_RATE}, or source.",
        )
    if lossy is None:
        if bit_rate is not None:
            raise UsageError(
                f"The format {stem_format} has no bit rate to choose.",
                "Leave --bitrate out, or use --format mp3, ogg, opus or m4a.",
            )
        return
    if bit_rate is not None and not lossy.least_bit_rate <= bit_rate <= lossy.most_bit_rate:
        raise UsageError(
            f"The format {stem_format} cannot have {bit_rate / 1000:g} kbit/s.",
            f"Write one from {lossy.least_bit_rate // 1000}k to {lossy.most_bit_rate // 1000}k.",
        )
    if sample_rate in {"source", 44_100} or lossy.sample_rates is None:
        return
    if sample_rate not in lossy.sample_rates:
        rates = ", ".join(map(str, lossy.sample_rates))
        raise UsageError(
            f"The format {stem_format} cannot have {sample_rate} Hz.", f"It can have {rates}."
        )


def stem_rate(stem_format: StemFormat, sample_rate: SampleRate, source_rate: int) -> int:
    """Give the sample rate of stems in Hz: what is wanted, or the next one that a format has."""
    wanted = source_rate if sample_rate == "source" else sample_rate
    most = {"flac": MOST_FLAC_RATE, "ogg": MOST_VORBIS_RATE}.get(stem_format, wanted)
    wanted = min(wanted, most)
    lossy = LOSSY.get(stem_format)
    if lossy is None or lossy.sample_rates is None or wanted in lossy.sample_rates:
        return wanted
    return next((rate for rate in lossy.sample_rates if rate > wanted), lossy.sample_rates[-1])


def stem_depth(stem_format: StemFormat, bit_depth: BitDepth, source: AudioInfo) -> PcmDepth:
    """Give the bit depth of stems: what is wanted, or what holds all that the source has.

    A source of a lossy format has no bit depth; 24 bits hold more than it does.
    """
    if bit_depth != "source":
        return bit_depth
    if source.bits is None:
        return "24"
    if source.floating or source.bits > 24:  # noqa: PLR2004 - the most that integers hold here
        return "24" if stem_format == "flac" else "32f"
    return "16" if source.bits <= 16 else "24"  # noqa: PLR2004


def frames_at(frames: int, source_rate: int, target_rate: int) -> int:
    """Give how many frames so many frames become at another sample rate: the nearest number."""
    return (2 * frames * target_rate + source_rate) // (2 * source_rate)

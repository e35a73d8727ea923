"""Sample rates, bit rates and bit depths of each format."""

from __future__ import annotations

import pytest

from stemsplit.core.audio_info import AudioInfo
from stemsplit.core.errors import UsageError
from stemsplit.core.format_rates import frames_at, require_possible, stem_depth, stem_rate
from stemsplit.core.settings import BitDepth, SampleRate, StemFormat


@pytest.mark.parametrize(
    ("stem_format", "wanted", "source", "expected"),
    [
        ("wav", 44_100, 48_000, 44_100),
        ("wav", "source", 192_000, 192_000),
        ("mp3", "source", 96_000, 48_000),
        ("mp3", "source", 9_000, 11_025),
        ("opus", 44_100, 44_100, 48_000),
        ("opus", "source", 8_000, 8_000),
        ("m4a", "source", 192_000, 96_000),
        ("ogg", "source", 192_000, 192_000),
        ("ogg", "source", 384_000, 192_000),
        ("flac", "source", 768_000, 655_350),
    ],
)
def test_the_nearest_supported_sample_rate_is_chosen(
    stem_format: StemFormat, wanted: SampleRate, source: int, expected: int
) -> None:
    """The next higher rate loses nothing; above all of them, the highest is chosen."""
    assert stem_rate(stem_format, wanted, source) == expected


@pytest.mark.parametrize(
    ("stem_format", "rate", "bit_rate", "message"),
    [
        ("wav", 1, None, "Unsupported sample rate: 1 Hz"),
        ("flac", 44_100, 128_000, "bit rate of flac"),
        ("mp3", 96_000, None, "does not support 96000 Hz"),
        ("mp3", 44_100, 500_000, "does not support 500 kbit/s"),
        ("opus", 44_100, 8_000, "does not support 8 kbit/s"),
    ],
)
def test_unsupported_rates_are_refused(
    stem_format: StemFormat, rate: int, bit_rate: int | None, message: str
) -> None:
    """The error gives the value and a remedy."""
    with pytest.raises(UsageError, match=message) as caught:
        require_possible(stem_format, rate, bit_rate)
    assert caught.value.remedy


def test_opus_needs_no_other_option() -> None:
    """The default sample rate is accepted, although Opus does not support it."""
    require_possible("opus", 44_100, 96_000)


@pytest.mark.parametrize(
    ("bits", "floating", "wanted", "stem_format", "expected"),
    [
        (8, False, "source", "wav", "16"),
        (16, False, "source", "flac", "16"),
        (24, False, "source", "wav", "24"),
        (32, False, "source", "wav", "32f"),
        (32, True, "source", "wav", "32f"),
        (64, True, "source", "flac", "24"),
        (None, False, "source", "wav", "24"),
        (16, False, "24", "wav", "24"),
    ],
)
def test_the_bit_depth_follows_the_source(
    *, bits: int | None, floating: bool, wanted: BitDepth, stem_format: StemFormat, expected: str
) -> None:
    """The depth stores all bits of the source, as far as the format allows."""
    info = AudioInfo(
        format="X",
        subtype="Y",
        sample_rate=44_100,
        channels=2,
        frames=1,
        bits=bits,
        floating=floating,
    )
    assert stem_depth(stem_format, wanted, info) == expected


def test_frame_counts_are_rounded_to_the_nearest_integer() -> None:
    """The result is exact for any length."""
    assert frames_at(44_100, 44_100, 48_000) == 48_000
    assert frames_at(10**12, 44_100, 44_100) == 10**12
    assert frames_at(1, 192_000, 44_100) == 0
    assert frames_at(3, 96_000, 44_100) == 1

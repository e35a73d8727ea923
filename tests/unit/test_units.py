"""Parsing of sizes, durations, positions and rates."""

from __future__ import annotations

import pytest

from stemsplit.core.errors import UsageError
from stemsplit.core.limits import Limits
from stemsplit.core.units import (
    Amount,
    TimeLimit,
    parse_bit_rate,
    parse_duration,
    parse_position,
    parse_sample_rate,
    parse_size,
    parse_time_limit,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 * 2**30),
        ("1.5 G", 3 * 2**29),
        ("800MB", 800_000_000),
        ("512mib", 2**29),
        ("64k", 65_536),
        ("1000", 1000),
        (2**30, 2**30),
        ("10 B", 10),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    """Units are powers of 1,024, except `kB`, `MB` and `GB`; a bare number is in bytes."""
    assert parse_size(text, "max-ram") == Amount(size_bytes=size)
    assert parse_size(text, "max-ram").of(123) == size


def test_percentages_are_shares_of_a_total() -> None:
    """They may have a decimal point and a space."""
    assert parse_size("60%", "max-ram").of(10_000_000_000) == 6_000_000_000
    assert parse_size("12.5 %", "max-ram") == Amount(share=0.125)


@pytest.mark.parametrize("text", ["", "four", "4 GiBs", "-1GiB", "101%", "1e9", "4GiB 2"])
def test_invalid_sizes(text: str) -> None:
    """The error names the option and shows an example."""
    with pytest.raises(UsageError, match=r"Invalid max-ram: .*4GiB"):
        parse_size(text, "max-ram")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h30m", 5400), ("2min", 120), ("45", 45), ("0.5h", 1800), (7.5, 7.5)],
)
def test_durations(text: str | float, seconds: float) -> None:
    """Without a unit, a number is in seconds."""
    assert parse_duration(text, "stall-timeout") == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "soon", "1d", "-5s", "5x"])
def test_invalid_durations(text: str) -> None:
    """A duration must be positive."""
    with pytest.raises(UsageError, match=r"Invalid stall-timeout:"):
        parse_duration(text, "stall-timeout")


def test_time_limits_may_be_multiples() -> None:
    """`4x` is four times the expected time, and no limit as long as that is unknown."""
    assert parse_time_limit("4x", "timeout") == TimeLimit(factor=4)
    assert TimeLimit(factor=4).of(30) == 120
    assert TimeLimit(factor=4).of(None) is None
    assert parse_time_limit("20m", "timeout").of(None) == 1200
    for text in ("x", "0x", "4 times", "-1"):
        with pytest.raises(UsageError, match=r"Invalid timeout:"):
            parse_time_limit(text, "timeout")


def test_limits_are_parsed() -> None:
    """The number of retries must not be negative."""
    limits = Limits.parse(max_ram="1GiB", min_free="5%", stall_timeout="1m", timeout="2x")
    assert limits.max_ram == Amount(size_bytes=2**30)
    assert limits.min_free == Amount(share=0.05)
    assert limits.stall_seconds == 60
    with pytest.raises(UsageError, match="not -1"):
        Limits.parse(retries=-1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90s", 90), ("1:30", 90), ("1:02:03.5", 3723.5), ("1h", 3600), ("0:00.25", 0.25)],
)
def test_positions(text: str, seconds: float) -> None:
    """A position is a duration or a time as players show it; 0 is the start."""
    assert parse_position(text, "start") == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:2", "1:2:3", "soon", "1:30:", "::"])
def test_invalid_positions(text: str) -> None:
    """The error names the option."""
    with pytest.raises(UsageError, match=r"Invalid start:"):
        parse_position(text, "start")


@pytest.mark.parametrize(
    ("text", "rate"),
    [("48000", 48_000), ("44.1k", 44_100), ("96 kHz", 96_000), ("source", "source")],
)
def test_sample_rates(text: str, rate: object) -> None:
    """A rate is in Hz or kHz, or is that of the source."""
    assert parse_sample_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "-48000", "48x"])
def test_invalid_sample_rates(text: str) -> None:
    """The error names the option."""
    with pytest.raises(UsageError, match=r"Invalid sample rate:"):
        parse_sample_rate(text)


@pytest.mark.parametrize(
    ("text", "rate"), [("320k", 320_000), ("192000", 192_000), ("96 kbit/s", 96_000)]
)
def test_bit_rates(text: str, rate: int) -> None:
    """A rate is in bits or kilobits per second."""
    assert parse_bit_rate(text, "bitrate") == rate


@pytest.mark.parametrize("text", ["", "320", "high", "2000k", "-1k"])
def test_invalid_bit_rates(text: str) -> None:
    """320 bit/s is certainly a mistake."""
    with pytest.raises(UsageError, match=r"Invalid bitrate:"):
        parse_bit_rate(text, "bitrate")

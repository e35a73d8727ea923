"""Runs in both. Parses sizes, durations, rates and times as users write them. Pure.

Sizes follow IEC 80000-13: `KiB`, `MiB`, `GiB` are powers of 1,024 and `kB`, `MB`, `GB` powers of
1,000; a bare `K`, `M`, `G` means the former, as it does to `systemd` and `docker`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from stemsplit.core.errors import UsageError

Moment = Annotated[float, msgspec.Meta(ge=0, le=253_370_764_800)]
"""Seconds since 1970, up to the year 9999, the last that `time.localtime` supports."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e18)]
"""A duration read from a file, bounded so that it can be formatted and added up."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""A number of items or bytes."""

_CLOCK = re.compile(r"(?P<hour>\d{1,2}):(?P<minute>\d{2})")
_POSITION = re.compile(r"(?:(?P<h>\d+):(?=\d\d:))?(?P<m>\d+):(?P<s>\d{2}(?:\.\d+)?)")
_BIT_RATE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<kilo>k?)(?:bit/s|bps|b)?", re.IGNORECASE)
_SAMPLE_RATE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<kilo>k?)(?:hz)?")
MIN_BIT_RATE, MAX_BIT_RATE = 8_000, 1_000_000
"""Range of the bit rates that a user can choose for any lossy format, in bit/s."""

_HOURS_A_DAY, _MINUTES_AN_HOUR = 24, 60
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<prefix>[kmgt]?)(?P<unit>ib|b|)", re.IGNORECASE)
_PERCENTAGE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*%")
_FACTOR = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*[x×]")
_SECONDS = re.compile(r"\d+(?:\.\d+)?")
_DURATION = re.compile(
    r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m(?:in)?)?(?:(?P<s>\d+(?:\.\d+)?)s)?",
    re.IGNORECASE,
)


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """A size in bytes, or a share of a whole.

    Attributes:
        size_bytes: 0 or more; None for a share.
        share: 0..1; None for a size.
    """

    size_bytes: int | None = None
    share: float | None = None

    def of(self, whole_bytes: int) -> int:
        """Return the amount in bytes; a share refers to `whole_bytes`."""
        if self.size_bytes is not None:
            return self.size_bytes
        return round((self.share or 0.0) * whole_bytes)


class TimeLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A time limit: a duration, or a multiple of the predicted time.

    Attributes:
        seconds: more than 0; None for a multiple.
        factor: more than 0; None for a duration.
    """

    seconds: float | None = None
    factor: float | None = None

    def of(self, expected_seconds: float | None) -> float | None:
        """Return the limit in seconds; None for a multiple of an unknown time."""
        if self.seconds is not None:
            return self.seconds
        if self.factor is None or expected_seconds is None:
            return None
        return self.factor * expected_seconds


def parse_size(text: str | float, what: str) -> Amount:
    """Parse `4GiB`, `800 MB`, `1.5G`, a number of bytes, or a percentage such as `60%`.

    Args:
        text: the user's input; a plain number is in bytes.
        what: name of the option or argument, for the error.

    Raises:
        UsageError: if the text is none of these, or more than 100 %.
    """
    written = str(text).strip()
    if found := _PERCENTAGE.fullmatch(written):
        share = float(found["number"]) / 100
        if share <= 1:
            return Amount(share=share)
    elif found := _SIZE.fullmatch(written):
        base = 1000 if found["unit"].lower() == "b" else 1024
        return Amount(
            size_bytes=round(float(found["number"]) * base ** _POWERS[found["prefix"].lower()])
        )
    raise UsageError(
        f"Invalid {what}: “{text}”.", "Use a size such as 4GiB, or a percentage such as 60%."
    )


def parse_duration(text: str | float, what: str) -> float:
    """Parse `90s`, `1h30m`, `2min` or a number of seconds; return seconds.

    Raises:
        UsageError: if the text is none of these, or not more than 0.
    """
    seconds = _duration(str(text).strip())
    if seconds is None or seconds <= 0:
        raise UsageError(f"Invalid {what}: “{text}”.", "Use a duration such as 90s or 1h30m.")
    return seconds


def parse_time_limit(text: str | float, what: str) -> TimeLimit:
    """Parse a duration, or a multiple of the predicted time such as `4x`.

    Raises:
        UsageError: if the text is neither, or not more than 0.
    """
    written = str(text).strip()
    if (found := _FACTOR.fullmatch(written)) and float(found["number"]) > 0:
        return TimeLimit(factor=float(found["number"]))
    seconds = _duration(written)
    if seconds is None or seconds <= 0:
        raise UsageError(
            f"Invalid {what}: “{text}”.",
            "Use a duration such as 20m, or a multiple of the predicted time such as 4x.",
        )
    return TimeLimit(seconds=seconds)


def parse_bit_rate(text: str | float, what: str) -> int:
    """Parse `320k`, `192000` or `192 kbit/s`; return bit/s.

    Raises:
        UsageError: if the text is none of these, or outside 8k to 1000k.
    """
    found = _BIT_RATE.fullmatch(str(text).strip())
    if found is not None:
        rate = round(float(found["number"]) * (1000 if found["kilo"] else 1))
        if MIN_BIT_RATE <= rate <= MAX_BIT_RATE:
            return rate
    raise UsageError(f"Invalid {what}: “{text}”.", "Use a bit rate such as 192k or 320k.")


def parse_sample_rate(text: str) -> int | Literal["source"]:
    """Parse `48000`, `48k`, `44.1kHz` or `source`; return Hz or `source`.

    Raises:
        UsageError: if the text is none of these.
    """
    written = text.strip().lower()
    if written == "source":
        return "source"
    found = _SAMPLE_RATE.fullmatch(written)
    if found is None:
        raise UsageError(f"Invalid sample rate: “{text}”.", "Use a rate such as 48000, or source.")
    return round(float(found["number"]) * (1000 if found["kilo"] else 1))


def parse_position(text: str | float, what: str) -> float:
    """Parse a position in a track: `90`, `1m30s`, `1:30` or `1:02:03.5`.

    Returns:
        seconds from the start, 0 or more.

    Raises:
        UsageError: if the text is none of these.
    """
    written = str(text).strip()
    if found := _POSITION.fullmatch(written):
        hours, minutes, seconds = (float(found[part] or 0) for part in ("h", "m", "s"))
        return 3600 * hours + 60 * minutes + seconds
    seconds_alone = _duration(written)
    if seconds_alone is None:
        raise UsageError(f"Invalid {what}: “{text}”.", "Use a time such as 90s or 1:30.")
    return seconds_alone


def parse_clock_time(text: str, what: str) -> tuple[int, int]:
    """Parse a time of day such as `07:00` or `23:30`.

    Returns:
        the hour, 0 to 23, and the minute, 0 to 59.

    Raises:
        UsageError: if the text is not a time of day.
    """
    found = _CLOCK.fullmatch(text.strip())
    if found is not None:
        hour, minute = int(found["hour"]), int(found["minute"])
        if hour < _HOURS_A_DAY and minute < _MINUTES_AN_HOUR:
            return hour, minute
    raise UsageError(f"Invalid {what}: “{text}”.", "Use a time of day such as 07:00.")


def _duration(written: str) -> float | None:
    if _SECONDS.fullmatch(written):
        return float(written)
    found = _DURATION.fullmatch(written)
    if not written or found is None:
        return None
    hours, minutes, seconds = (float(found[unit] or 0) for unit in "hms")
    return 3600 * hours + 60 * minutes + seconds

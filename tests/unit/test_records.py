"""Marks: what tells a file from one that somebody has changed."""

from __future__ import annotations

import pytest

from stemsplit.core.outcome import TrackWarning, WarningKind
from stemsplit.core.settings import Settings
from stemsplit.journal.records import (
    MODIFY_WINDOW_NS,
    Wanted,
    same_mark,
    same_stem,
    settings_key,
    warnings_of,
)

SECOND = 10**9
HOUR = 3600 * SECOND


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ((7, 10 * SECOND), True),
        ((7, 10 * SECOND + MODIFY_WINDOW_NS), True),
        ((7, 10 * SECOND - MODIFY_WINDOW_NS), True),
        ((7, 10 * SECOND + MODIFY_WINDOW_NS + 1), False),
        ((8, 10 * SECOND), False),
    ],
)
def test_a_disk_may_round_times(other: tuple[int, int], *, same: bool) -> None:
    """FAT to two seconds; a size is never rounded."""
    assert same_mark((7, 10 * SECOND), other) is same


@pytest.mark.parametrize(
    ("apart", "same"),
    [
        (HOUR, True),
        (-HOUR, True),
        (HOUR + MODIFY_WINDOW_NS, True),
        (-HOUR - MODIFY_WINDOW_NS, True),
        (HOUR + MODIFY_WINDOW_NS + 1, False),
        (HOUR - MODIFY_WINDOW_NS - 1, False),
        (2 * HOUR, False),
        (HOUR // 2, False),
    ],
)
def test_daylight_saving_shifts_times_by_an_hour(apart: int, *, same: bool) -> None:
    """A source is the same if its content is; of a stem size and time are enough."""

    def wanted(at: int, sample: bytes, size: int = 7) -> Wanted:
        return Wanted(source_bytes=size, source_modified_ns=at, settings="a", sample=sample)

    one = wanted(10 * HOUR, b"x")
    assert one.has_source_of(wanted(10 * HOUR + apart, b"x")) is same
    for other in (
        wanted(10 * HOUR + apart, b"y"),
        wanted(10 * HOUR + apart, b""),
        wanted(10 * HOUR + apart, b"x", size=8),
    ):
        assert not one.has_source_of(other)
        assert not other.has_source_of(one)
    assert not wanted(0, b"").has_source_of(wanted(apart, b"")), "two unknown samples prove nothing"
    assert same_stem((7, 10 * HOUR), (7, 10 * HOUR + apart)) is same
    assert not same_stem((7, 10 * HOUR), (8, 10 * HOUR + apart))


def test_what_is_wanted_is_the_source_and_the_settings() -> None:
    """Either makes a difference."""
    one = Wanted(source_bytes=7, source_modified_ns=0, settings="a")
    assert one.equals(Wanted(source_bytes=7, source_modified_ns=SECOND, settings="a"))
    assert not one.equals(Wanted(source_bytes=7, source_modified_ns=0, settings="b"))
    assert not one.equals(Wanted(source_bytes=6, source_modified_ns=0, settings="a"))
    assert not one.equals(None)


def test_only_what_changes_stems_is_in_the_key() -> None:
    """Threads change no sample; whether damage is accepted changes no healthy file's."""
    assert settings_key(Settings(threads=1)) == settings_key(Settings(threads=2))
    assert settings_key(Settings(accept_damaged=True)) == settings_key(Settings())
    for other in (
        Settings(model="4stems"),
        Settings(format="flac"),
        Settings(bit_depth="16"),
        Settings(tags=False),
        Settings(sample_rate="source"),
        Settings(stems=("vocals",)),
        Settings(residual=True),
        Settings(high_band="average"),
        Settings(mwf=True),
        Settings(start_seconds=1.0),
        Settings(duration_seconds=1.0),
        Settings(bit_rate=128_000),
        Settings(clip="rescale"),
        Settings(what="conversion"),
    ):
        assert settings_key(other) != settings_key(Settings())


def test_a_setting_that_came_later_does_nothing_again() -> None:
    """The key of the usual settings is what it was before there was that setting."""
    assert settings_key(Settings()) == (
        '{"bit_depth":"24","engine":"stemsplit.child.engines.tensorflow:load","format":"wav",'
        '"model":"2stems","tags":true}'
    )


def test_warnings_of_older_journals_are_read() -> None:
    """They were sentences without a kind."""
    assert warnings_of('["It clips."]') == (TrackWarning(kind=WarningKind.NOTE, text="It clips."),)
    assert warnings_of('[{"kind":"damaged","text":"It is cut."}]') == (
        TrackWarning(kind=WarningKind.DAMAGED, text="It is cut."),
    )
    assert warnings_of("[]") == ()

"""Positions of frames by timestamps that are coarse, drift or are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from stemsplit.audio.readers.timestamps import Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE, FRAME = 48_000, 1_024


def _gaps(timestamps: Sequence[int | None], *, max_gap: float = 10 * RATE) -> list[int]:
    timeline = Timeline(RATE, max_gap=max_gap, end=10**9)
    return [timeline.add_frame(timestamp, FRAME) for timestamp in timestamps]


def test_a_pause_becomes_silence_of_its_length() -> None:
    """The frames after it follow without another gap."""
    timestamps = [0, FRAME, 2 * FRAME + RATE, 3 * FRAME + RATE]
    assert _gaps(timestamps) == [0, 0, RATE, 0]


@given(st.lists(st.integers(-48, 48), min_size=1, max_size=200))
def test_jitter_of_a_millisecond_moves_nothing(jitter: list[int]) -> None:
    """Matroska rounds timestamps to milliseconds."""
    assert not any(_gaps([number * FRAME + offset for number, offset in enumerate(jitter)]))


def test_a_clock_that_drifts_moves_nothing() -> None:
    """One extra frame per hundred frames is a wrong sample rate, not a pause."""
    assert not any(_gaps([round(number * FRAME * 1.01) for number in range(5_000)]))


def test_lost_frames_become_silence_as_soon_as_the_delay_is_audible() -> None:
    """Two of 21 ms are below 50 ms; with the third, the silence of all three is inserted."""
    timestamps = [(number + number // 10) * FRAME for number in range(40)]
    gaps = _gaps(timestamps)
    assert [gap for gap in gaps if gap] == [3 * FRAME]
    assert gaps.index(3 * FRAME) == 30


def test_a_jump_beyond_the_limit_starts_a_new_timeline() -> None:
    """No silence is inserted, the jump is recorded, and later pauses are found."""
    timeline = Timeline(RATE, max_gap=10 * RATE, end=10**9)
    far = 60 * RATE
    assert [timeline.add_frame(one, FRAME) for one in (0, FRAME)] == [0, 0]
    assert timeline.add_frame(far, FRAME) == 0
    assert timeline.jump == far - 2 * FRAME
    assert timeline.add_frame(far + FRAME, FRAME) == 0
    assert timeline.jump == 0
    assert timeline.add_frame(far + 2 * FRAME + RATE, FRAME) == RATE


def test_a_jump_backwards_starts_a_new_timeline() -> None:
    """Two recordings may have been joined; pauses of the second one are found."""
    second = [0, FRAME, 2 * FRAME + RATE]
    assert _gaps([*range(10 * RATE, 13 * RATE, FRAME), *second])[-3:] == [0, 0, RATE]


def test_frames_without_timestamps_follow_one_another() -> None:
    """The next timestamp reveals lost frames among them."""
    assert _gaps([0, None, None, 3 * FRAME, None, 5 * FRAME + RATE]) == [0, 0, 0, 0, 0, RATE]


def test_silence_for_a_damaged_packet_is_inserted_once() -> None:
    """The timestamp after it agrees with the duration of the packet."""
    timeline = Timeline(RATE, max_gap=10 * RATE, end=10**9)
    assert timeline.add_frame(0, FRAME) == 0
    timeline.advance(4 * FRAME)
    assert timeline.add_frame(5 * FRAME, FRAME) == 0
    assert timeline.position == 6 * FRAME

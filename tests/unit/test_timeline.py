"""Where frames belong by timestamps that are coarse, wander and lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from stemsplit.audio.readers.timestamps import Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE, FRAME = 48_000, 1_024


def _gaps(timestamps: Sequence[int | None], *, longest_gap: float = 10 * RATE) -> list[int]:
    timeline = Timeline(RATE, longest_gap=longest_gap, end=10**9)
    return [timeline.gap_before(one, FRAME) for one in timestamps]


def test_a_pause_becomes_silence_of_its_length() -> None:
    """And what follows goes on without another one."""
    late = [0, FRAME, 2 * FRAME + RATE, 3 * FRAME + RATE]
    assert _gaps(late) == [0, 0, RATE, 0]


@given(st.lists(st.integers(-48, 48), min_size=1, max_size=200))
def test_timestamps_that_wander_by_a_millisecond_move_nothing(jitter: list[int]) -> None:
    """As those of Matroska do."""
    assert not any(_gaps([number * FRAME + one for number, one in enumerate(jitter)]))


def test_a_clock_that_drifts_moves_nothing() -> None:
    """A frame more every hundred frames is a wrong sample rate, and no pause."""
    assert not any(_gaps([round(number * FRAME * 1.01) for number in range(5_000)]))


def test_one_lost_frame_is_made_up_for_once_it_would_be_heard() -> None:
    """Two of 21 ms are less than 50 ms; the third is too much, and all three are put in."""
    timestamps = [(number + number // 10) * FRAME for number in range(40)]
    gaps = _gaps(timestamps)
    assert [gap for gap in gaps if gap] == [3 * FRAME]
    assert gaps.index(3 * FRAME) == 30


def test_a_jump_that_is_too_long_begins_another_timeline() -> None:
    """Nothing is put in, it is told, and a pause behind it is found again."""
    timeline = Timeline(RATE, longest_gap=10 * RATE, end=10**9)
    far = 60 * RATE
    assert [timeline.gap_before(one, FRAME) for one in (0, FRAME)] == [0, 0]
    assert timeline.gap_before(far, FRAME) == 0
    assert timeline.jumped == far - 2 * FRAME
    assert timeline.gap_before(far + FRAME, FRAME) == 0
    assert timeline.jumped == 0
    assert timeline.gap_before(far + 2 * FRAME + RATE, FRAME) == RATE


def test_a_clock_that_is_set_back_begins_another_timeline() -> None:
    """As where two recordings were joined: the second one's pauses are found."""
    second = [0, FRAME, 2 * FRAME + RATE]
    assert _gaps([*range(10 * RATE, 13 * RATE, FRAME), *second])[-3:] == [0, 0, RATE]


def test_frames_without_timestamps_follow_one_another() -> None:
    """And the next timestamp tells what was lost among them."""
    assert _gaps([0, None, None, 3 * FRAME, None, 5 * FRAME + RATE]) == [0, 0, 0, 0, 0, RATE]


def test_silence_for_a_broken_packet_is_not_put_in_twice() -> None:
    """The packet's own time is known; its neighbours' timestamps agree."""
    timeline = Timeline(RATE, longest_gap=10 * RATE, end=10**9)
    assert timeline.gap_before(0, FRAME) == 0
    timeline.take_silence(4 * FRAME)
    assert timeline.gap_before(5 * FRAME, FRAME) == 0
    assert timeline.position == 6 * FRAME

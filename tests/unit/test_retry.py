"""What follows a failed attempt."""

from __future__ import annotations

import pytest

from stemsplit.core.limits import Resources
from stemsplit.core.outcome import Reason
from stemsplit.supervisor.retry import deaths_in_a_row, next_resources

FIRST = Resources(threads=4)
LEAN = Resources(threads=1, lean=True)


def _history(first: Resources, *reasons: Reason, retries: int = 9) -> list[Resources | None]:
    """Follow a track through a series of failures."""
    efforts: list[Resources | None] = []
    resources = first
    for number, reason in enumerate(reasons):
        following = next_resources(resources, reason, reasons[:number], retries)
        efforts.append(following)
        if following is None:
            break
        resources = following
    return efforts


@pytest.mark.parametrize("reason", [Reason.OVER_RAM_CAP, Reason.KILLED_BY_KERNEL])
def test_too_much_memory_is_tried_leaner_then_alone(reason: Reason) -> None:
    """One instrument at a time and one thread; then nothing beside it."""
    alone = Resources(threads=1, lean=True, alone=True)
    assert _history(FIRST, reason, reason) == [LEAN, alone]
    assert _history(LEAN, reason) == [alone], "it cannot be leaner"
    assert _history(FIRST, reason, reason, reason)[-1] is None, "it would take as much again"


@pytest.mark.parametrize("reason", [Reason.CRASHED, Reason.NO_RESULT])
def test_a_crash_is_tried_alone(reason: Reason) -> None:
    """Then with one thread as well."""
    assert _history(FIRST, reason, reason) == [
        Resources(threads=4, alone=True),
        Resources(threads=1, alone=True),
    ]


def test_a_stall_is_tried_alone_with_one_thread() -> None:
    """A time limit, alone first with all its threads."""
    assert _history(FIRST, Reason.STALLED) == [Resources(threads=1, alone=True)]
    assert _history(FIRST, Reason.TIMED_OUT) == [Resources(threads=4, alone=True)]


def test_each_kind_of_failure_has_its_own_count() -> None:
    """Two retries for memory do not use up those for crashes; evictions use up none."""
    assert len(_history(FIRST, *[Reason.CRASHED] * 5, retries=2)) == 3
    mixed = [Reason.CRASHED, Reason.OVER_RAM_CAP, Reason.EVICTED, Reason.STALLED, Reason.EVICTED]
    assert None not in _history(FIRST, *mixed, retries=1)
    assert _history(FIRST, *mixed, Reason.CRASHED, retries=1)[-1] is None


@pytest.mark.parametrize(
    "reason",
    [
        Reason.BAD_INPUT,
        Reason.DAMAGED,
        Reason.OUTPUT_EXISTS,
        Reason.DISK_FULL,
        Reason.UNWRITABLE,
        Reason.CANCELLED,
        Reason.ENGINE_UNAVAILABLE,
    ],
)
def test_what_would_fail_again_is_not_tried_again(reason: Reason) -> None:
    """Bad input first of all."""
    assert next_resources(FIRST, reason, (), 9) is None


def test_no_retries_means_none() -> None:
    """`--retries 0`."""
    for reason in (Reason.CRASHED, Reason.STALLED, Reason.OVER_RAM_CAP):
        assert next_resources(FIRST, reason, (), 0) is None


def test_deaths_at_start_are_counted_in_a_row() -> None:
    """One child that comes to work begins the count anew; bad files and evictions do not count."""
    count = 0
    for died, reason, expected in [
        (True, Reason.CRASHED, 1),
        (True, Reason.STALLED, 2),
        (False, Reason.CRASHED, 0),
        (True, Reason.NO_RESULT, 1),
        (True, Reason.EVICTED, 1),
        (True, Reason.BAD_INPUT, 1),
        (True, Reason.OVER_RAM_CAP, 1),
    ]:
        count = deaths_in_a_row(count, died_at_start=died, reason=reason)
        assert count == expected


def test_evictions_are_no_fault_but_do_not_go_on_for_ever() -> None:
    """Five times as before, then leaner and alone, and after ten the machine has no room."""
    efforts = _history(FIRST, *[Reason.EVICTED] * 11, retries=0)
    assert efforts == [FIRST] * 5 + [Resources(threads=1, lean=True, alone=True)] * 5 + [None]

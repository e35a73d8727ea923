"""Whether and how a failed attempt is retried."""

from __future__ import annotations

import pytest

from stemsplit.batch.decisions import TRACK_REASONS
from stemsplit.core.limits import Resources
from stemsplit.core.outcome import Reason
from stemsplit.supervisor.retry import count_startup_deaths, next_resources

FIRST = Resources(threads=4)
LEAN = Resources(threads=1, lean=True)


def _history(first: Resources, *reasons: Reason, retries: int = 9) -> list[Resources | None]:
    """Return the resources after each of a series of failures."""
    history: list[Resources | None] = []
    resources = first
    for number, reason in enumerate(reasons):
        new = next_resources(resources, reason, reasons[:number], retries)
        history.append(new)
        if new is None:
            break
        resources = new
    return history


@pytest.mark.parametrize("reason", [Reason.OVER_RAM_CAP, Reason.KILLED_BY_KERNEL])
def test_too_much_memory_is_retried_lean_then_alone(reason: Reason) -> None:
    """First with one instrument at a time and one thread, then also without other children."""
    alone = Resources(threads=1, lean=True, alone=True)
    assert _history(FIRST, reason, reason) == [LEAN, alone]
    assert _history(LEAN, reason) == [alone], "it cannot be leaner"
    assert _history(FIRST, reason, reason, reason)[-1] is None, (
        "another attempt would use as much memory"
    )


@pytest.mark.parametrize("reason", [Reason.CRASHED, Reason.NO_RESULT])
def test_a_crash_is_retried_alone(reason: Reason) -> None:
    """The second retry also has only one thread."""
    assert _history(FIRST, reason, reason) == [
        Resources(threads=4, alone=True),
        Resources(threads=1, alone=True),
    ]


def test_a_stall_is_retried_alone_with_one_thread() -> None:
    """After a timeout, the first retry keeps all threads."""
    assert _history(FIRST, Reason.STALLED) == [Resources(threads=1, alone=True)]
    assert _history(FIRST, Reason.TIMED_OUT) == [Resources(threads=4, alone=True)]


def test_each_group_of_reasons_has_its_own_count() -> None:
    """Retries for memory do not count as retries for crashes; evictions do not count at all."""
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
def test_permanent_failures_are_not_retried(reason: Reason) -> None:
    """Another attempt would fail too."""
    assert next_resources(FIRST, reason, (), 9) is None


def test_retries_can_be_disabled() -> None:
    """`--retries 0`."""
    for reason in (Reason.CRASHED, Reason.STALLED, Reason.OVER_RAM_CAP):
        assert next_resources(FIRST, reason, (), 0) is None


def test_consecutive_startup_deaths_are_counted() -> None:
    """A child that loads its engine resets the count; bad files and evictions do not count."""
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
        count = count_startup_deaths(count, died_at_start=died, reason=reason)
        assert count == expected


def test_evictions_do_not_count_but_are_limited() -> None:
    """Five retries are unchanged and five are lean and alone; then the track fails."""
    history = _history(FIRST, *[Reason.EVICTED] * 11, retries=0)
    assert history == [FIRST] * 5 + [Resources(threads=1, lean=True, alone=True)] * 5 + [None]


def test_every_reason_is_classified() -> None:
    """A new reason requires a decision: retry it at once, skip the track later, or neither."""
    retried = {reason for reason in Reason if next_resources(FIRST, reason, (), 2) is not None}
    assert retried == {
        Reason.CRASHED,
        Reason.EVICTED,
        Reason.KILLED_BY_KERNEL,
        Reason.NO_RESULT,
        Reason.OVER_RAM_CAP,
        Reason.STALLED,
        Reason.TIMED_OUT,
        Reason.UNREACHABLE,
    }
    neither = {
        Reason.CANCELLED,
        Reason.DISK_FULL,
        Reason.DONE,
        Reason.ENGINE_UNAVAILABLE,
        Reason.NO_MEMORY,
        Reason.OUTPUT_EXISTS,
        Reason.TOO_LARGE,
        Reason.UNWRITABLE,
    }
    assert neither.isdisjoint(retried | TRACK_REASONS)
    assert retried | TRACK_REASONS | neither == set(Reason)

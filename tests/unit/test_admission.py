"""Which child may start, and which child is terminated when memory runs low."""

from __future__ import annotations

from dataclasses import replace

from stemsplit.core.outcome import Reason
from stemsplit.supervisor.admission import (
    RunningChild,
    Throttle,
    WaitReason,
    choose_termination,
    is_full,
    wait_reason,
)
from stemsplit.supervisor.attempt_state import Timings
from stemsplit.supervisor.budget import Budget
from stemsplit.supervisor.prediction import MEBIBYTE

GIB = 1024 * MEBIBYTE
BUDGET = Budget(total_bytes=3 * GIB, per_file_bytes=None, min_free_bytes=GIB)


def _child(ticket: int, used: int = 0, **more: bool) -> RunningChild:
    return RunningChild(
        ticket=ticket,
        private_bytes=used * MEBIBYTE,
        expected_bytes=400 * MEBIBYTE,
        **more,
    )


def _wait_reason(
    *running: RunningChild, used: int = 500, available: int = 4096, alone: bool = False
) -> WaitReason | None:
    return wait_reason(
        running,
        expected_bytes=400 * MEBIBYTE,
        alone=alone,
        used_bytes=used * MEBIBYTE,
        available_bytes=available * MEBIBYTE,
        budget=replace(BUDGET, total_bytes=1500 * MEBIBYTE),
    )


def test_a_child_starts_only_if_all_may_grow_to_their_peaks() -> None:
    """The expected growth of running children is reserved in the budget and on the machine."""
    assert _wait_reason() is None
    assert _wait_reason(used=9999) is None, (
        "the first child may always start; its cap still applies"
    )
    assert _wait_reason(_child(1, used=0), used=500) is None
    assert _wait_reason(_child(1, used=0), used=701) == WaitReason.BUDGET
    assert _wait_reason(_child(1, used=400), used=1100) is None
    assert _wait_reason(_child(1, used=400), used=1101) == WaitReason.BUDGET
    assert _wait_reason(available=1424) is None
    assert _wait_reason(available=1423) == WaitReason.HOST
    assert _wait_reason(_child(1), available=1823) == WaitReason.HOST


def test_a_child_may_need_the_machine_to_itself() -> None:
    """No other child runs at the same time."""
    assert _wait_reason(_child(1), alone=True) == WaitReason.ALONE
    assert _wait_reason(_child(1, alone=True)) == WaitReason.ALONE
    assert _wait_reason(alone=True) is None


def test_the_next_child_starts_while_another_closes_its_files() -> None:
    """A closing child needs no CPU and does not grow, but its memory still counts."""
    closing, working = _child(1, is_finishing=True), _child(2)
    assert is_full([working], 1, early=True)
    assert not is_full([closing], 1, early=True)
    assert is_full([closing], 1, early=False)
    assert is_full([closing, working], 1, early=True)
    assert is_full([closing, closing], 1, early=True), "two children per worker at most"
    assert not is_full([closing, closing, working], 2, early=True)
    assert _wait_reason(closing, used=1100) is None, "it does not grow"
    assert _wait_reason(closing, used=1101) == WaitReason.BUDGET
    assert _wait_reason(closing, alone=True) == WaitReason.ALONE


def test_the_youngest_is_terminated_when_memory_runs_low() -> None:
    """Below half of the minimum of free memory, or over the budget; one child at a time."""
    both = [_child(7), _child(4)]

    def terminated(
        running: list[RunningChild], *, used: int = 0, available: int = 4096
    ) -> tuple[int, Reason] | None:
        termination = choose_termination(
            running,
            used_bytes=used * MEBIBYTE,
            available_bytes=available * MEBIBYTE,
            budget=BUDGET,
        )
        return None if termination is None else (termination.ticket, termination.diagnosis.reason)

    assert terminated(both, available=512) is None
    assert terminated(both, available=511) == (7, Reason.EVICTED)
    assert terminated(both, used=3073) == (7, Reason.EVICTED)
    assert terminated([_child(4)], used=3073) == (4, Reason.OVER_RAM_CAP)
    assert terminated([_child(4)], available=511) == (4, Reason.EVICTED)
    assert terminated([_child(7, is_ending=True), _child(4)], available=511) is None
    assert terminated([], available=0) is None


def test_far_over_the_budget_a_child_is_killed_at_once() -> None:
    """The limit is 1.25 times the budget."""
    for used, at_once in ((3.1, False), (3.8, True)):
        termination = choose_termination(
            [_child(1)], used_bytes=round(used * GIB), available_bytes=GIB, budget=BUDGET
        )
        assert termination is not None
        assert termination.at_once is at_once


def test_evictions_halve_the_workers_which_recover_slowly() -> None:
    """The number rises by one per minute, up to the maximum."""
    timings = Timings()
    throttle = Throttle(workers=8, max_workers=8, changed_at=0.0)
    assert not throttle.is_settling(1.0, timings)
    throttle = throttle.after_eviction(10.0).after_eviction(20.0)
    assert throttle.workers == 2
    assert throttle.is_settling(24.0, timings)
    assert not throttle.is_settling(26.0, timings)
    assert throttle.recovered(79.0, timings).workers == 2
    for minute in range(1, 9):
        throttle = throttle.recovered(20.0 + 60 * minute, timings)
        assert throttle.workers == min(8, 2 + minute)
    assert Throttle(workers=1, max_workers=8, changed_at=0.0).after_eviction(1.0).workers == 1
    evicted = Throttle(workers=1, max_workers=1, changed_at=0.0).after_eviction(1.0)
    assert not evicted.is_calm(2.0, Timings())
    assert evicted.is_calm(62.0, Timings())
    assert Throttle(workers=1, max_workers=1, changed_at=0.0).is_calm(1.0, Timings())

"""How many children the budget allows, which may start, and which must go."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from stemsplit.core.errors import InsufficientMemoryError
from stemsplit.core.limits import Limits, Resources
from stemsplit.core.outcome import Reason
from stemsplit.supervisor.admission import (
    Hold,
    Running,
    Throttle,
    is_full,
    may_start,
    to_end,
)
from stemsplit.supervisor.attempt_state import Timings
from stemsplit.supervisor.budget import (
    Budget,
    Concurrency,
    HostMemory,
    budget_of,
    choose_concurrency,
    refusal,
)
from stemsplit.supervisor.prediction import (
    MEBIBYTE,
    SUPERVISOR_BYTES,
    Footprint,
    Forecast,
    Workload,
    corrected,
    expected_seconds,
    footprint,
)

GIB = 1024 * MEBIBYTE
LAPTOP = HostMemory(total_bytes=8 * GIB, available_bytes=5 * GIB)
BUDGET = Budget(total_bytes=3 * GIB, per_file_bytes=None, min_free_bytes=GIB)
TWO_STEMS = Workload(kind="tensorflow", stems=2)


def _need(resources: Resources) -> Footprint:
    """A fork server of 440 MiB, children of 400 MiB, or 300 when they are lean."""
    private = 300 if resources.lean else 400
    return Footprint(
        shared_bytes=500 * MEBIBYTE - SUPERVISOR_BYTES, private_bytes=private * MEBIBYTE
    )


def _concurrency(budget: Budget, processors: int, **wishes: int) -> Concurrency:
    named = {"jobs": None, "threads": None, "tracks": None} | wishes
    return choose_concurrency(_need, budget, LAPTOP, processors, **named)


def test_limits_become_bytes() -> None:
    """Defaults: 60 % of what is free; a tenth of the machine is left, at least 512 MiB."""
    assert budget_of(Limits(), LAPTOP) == Budget(
        total_bytes=3 * GIB, per_file_bytes=None, min_free_bytes=round(0.1 * 8 * GIB)
    )
    tiny = HostMemory(total_bytes=GIB, available_bytes=GIB)
    assert budget_of(Limits(), tiny).min_free_bytes == 512 * MEBIBYTE
    named = Limits.parse(max_ram="50%", max_ram_per_file="1GiB", min_free="25%")
    assert budget_of(named, LAPTOP) == Budget(
        total_bytes=5 * GIB // 2, per_file_bytes=GIB, min_free_bytes=2 * GIB
    )


@pytest.mark.parametrize(
    ("total_mib", "processors", "expected"),
    [
        (3072, 2, Concurrency(workers=2, resources=Resources(threads=1))),
        (3072, 4, Concurrency(workers=4, resources=Resources(threads=1))),
        (3072, 16, Concurrency(workers=8, resources=Resources(threads=2, lean=True))),
        (1300, 2, Concurrency(workers=2, resources=Resources(threads=1))),
        (1299, 2, Concurrency(workers=2, resources=Resources(threads=1, lean=True))),
        (1000, 2, Concurrency(workers=1, resources=Resources(threads=2))),
        (800, 2, Concurrency(workers=1, resources=Resources(threads=2, lean=True))),
    ],
)
def test_auto_weighs_processors_against_memory(
    total_mib: int, processors: int, expected: Concurrency
) -> None:
    """As many children as fit, leaner if more fit then; each with a share of the processors."""
    assert _concurrency(replace(BUDGET, total_bytes=total_mib * MEBIBYTE), processors) == expected


def test_wishes_count_as_far_as_memory_goes() -> None:
    """`--jobs`, `--threads`, and no more workers than tracks."""
    assert _concurrency(BUDGET, 4, jobs=2) == Concurrency(workers=2, resources=Resources(threads=2))
    assert _concurrency(BUDGET, 4, threads=2) == Concurrency(
        workers=2, resources=Resources(threads=2)
    )
    assert _concurrency(BUDGET, 4, tracks=1) == Concurrency(
        workers=1, resources=Resources(threads=4)
    )
    assert _concurrency(BUDGET, 2, jobs=99).workers == 8


@pytest.mark.parametrize(
    ("budget", "words", "remedy"),
    [
        (replace(BUDGET, total_bytes=799 * MEBIBYTE), "800 MiB", "--max-ram 800MiB"),
        (replace(BUDGET, min_free_bytes=8 * GIB), "8,192 MiB in all", "--min-free"),
        (
            replace(BUDGET, per_file_bytes=100 * MEBIBYTE),
            "--max-ram-per-file allows 100 MiB",
            "--max-ram-per-file 550MiB",
        ),
    ],
)
def test_too_small_is_said_plainly(budget: Budget, words: str, remedy: str) -> None:
    """What one track takes, what there is, and what would do."""
    with pytest.raises(InsufficientMemoryError) as error:
        _concurrency(budget, 2)
    assert words in error.value.message
    assert remedy in error.value.remedy


def _child(ticket: int, taken: int = 0, **more: bool) -> Running:
    return Running(
        ticket=ticket,
        private_bytes=taken * MEBIBYTE,
        expected_bytes=400 * MEBIBYTE,
        **more,
    )


def _hold(*running: Running, used: int = 500, available: int = 4096, **more: bool) -> str | None:
    return may_start(
        _child(99, **more),
        running,
        used_bytes=used * MEBIBYTE,
        available_bytes=available * MEBIBYTE,
        budget=replace(BUDGET, total_bytes=1500 * MEBIBYTE),
    )


def test_a_child_starts_only_if_all_may_grow_to_their_peaks() -> None:
    """What the running ones will still take is set aside, in the budget and in the machine."""
    assert _hold() is None
    assert _hold(used=9999) is None, "one always may, where none runs; its cap holds"
    assert _hold(_child(1, taken=0), used=500) is None
    assert _hold(_child(1, taken=0), used=701) == Hold.BUDGET
    assert _hold(_child(1, taken=400), used=1100) is None
    assert _hold(_child(1, taken=400), used=1101) == Hold.BUDGET
    assert _hold(available=1424) is None
    assert _hold(available=1423) == Hold.HOST
    assert _hold(_child(1), available=1823) == Hold.HOST


def test_loners() -> None:
    """Nothing beside one that needs the machine."""
    assert _hold(_child(1), alone=True) == Hold.ALONE
    assert _hold(_child(1, alone=True)) == Hold.ALONE
    assert _hold(alone=True) is None


def test_the_next_one_starts_while_another_closes_its_files() -> None:
    """It takes no processor any more, and no more memory; but what it has counts."""
    closing, working = _child(1, finishing=True), _child(2)
    assert is_full([working], 1, early=True)
    assert not is_full([closing], 1, early=True)
    assert is_full([closing], 1, early=False)
    assert is_full([closing, working], 1, early=True)
    assert is_full([closing, closing], 1, early=True), "there is an end to it"
    assert not is_full([closing, closing, working], 2, early=True)
    assert _hold(closing, used=1100) is None, "it grows no more"
    assert _hold(closing, used=1101) == Hold.BUDGET
    assert _hold(closing, alone=True) == Hold.ALONE


def test_the_youngest_goes_when_memory_runs_low() -> None:
    """Below half of what is to be left free, or over the budget together; one at a time."""
    two = [_child(7), _child(4)]

    def end(
        running: list[Running], *, used: int = 0, available: int = 4096
    ) -> tuple[int, Reason] | None:
        ending = to_end(
            running,
            used_bytes=used * MEBIBYTE,
            available_bytes=available * MEBIBYTE,
            budget=BUDGET,
        )
        return None if ending is None else (ending.ticket, ending.diagnosis.reason)

    assert end(two, available=512) is None
    assert end(two, available=511) == (7, Reason.EVICTED)
    assert end(two, used=3073) == (7, Reason.EVICTED)
    assert end([_child(4)], used=3073) == (4, Reason.OVER_RAM_CAP)
    assert end([_child(4)], available=511) == (4, Reason.EVICTED)
    assert end([_child(7, ending=True), _child(4)], available=511) is None
    assert end([], available=0) is None


def test_far_over_the_budget_there_is_no_time_to_ask() -> None:
    """At a quarter more than the budget."""
    for used, at_once in ((3.1, False), (3.8, True)):
        ending = to_end(
            [_child(1)], used_bytes=round(used * GIB), available_bytes=GIB, budget=BUDGET
        )
        assert ending is not None
        assert ending.at_once is at_once


def test_evictions_halve_the_workers_which_recover_slowly() -> None:
    """8, 4, 2, and then one more a minute, up to what it was."""
    timings = Timings()
    throttle = Throttle(workers=8, most=8, changed_at=0.0)
    assert not throttle.is_settling(1.0, timings)
    throttle = throttle.after_eviction(10.0).after_eviction(20.0)
    assert throttle.workers == 2
    assert throttle.is_settling(24.0, timings)
    assert not throttle.is_settling(26.0, timings)
    assert throttle.recovered(79.0, timings).workers == 2
    for minute in range(1, 9):
        throttle = throttle.recovered(20.0 + 60 * minute, timings)
        assert throttle.workers == min(8, 2 + minute)
    assert Throttle(workers=1, most=8, changed_at=0.0).after_eviction(1.0).workers == 1
    evicted = Throttle(workers=1, most=1, changed_at=0.0).after_eviction(1.0)
    assert not evicted.is_calm(2.0, Timings())
    assert evicted.is_calm(62.0, Timings())
    assert Throttle(workers=1, most=1, changed_at=0.0).is_calm(1.0, Timings())


def test_the_table_of_footprints_grows_as_it_should() -> None:
    """More stems take more, lean takes less, and spawned children share nothing."""
    two, five = (
        footprint(Workload(kind="tensorflow", stems=stems), Resources(), preloaded=True)
        for stems in (2, 5)
    )
    lean = footprint(Workload(kind="tensorflow", stems=5), Resources(lean=True), preloaded=True)
    spawned = footprint(TWO_STEMS, Resources(), preloaded=False)
    whole = footprint(
        Workload(kind="whole", stems=2), Resources(), preloaded=True, audio_seconds=100.0
    )
    converted = footprint(Workload(kind="conversion", stems=0), Resources(), preloaded=True)
    assert two.private_bytes < five.private_bytes
    assert lean.private_bytes < 0.7 * five.private_bytes
    assert spawned.shared_bytes == 0
    assert spawned.private_bytes > two.private_bytes
    assert 500 * MEBIBYTE < two.alone_bytes < 650 * MEBIBYTE
    assert whole.private_bytes > two.private_bytes + 1900 * MEBIBYTE
    assert converted.alone_bytes < 300 * MEBIBYTE
    unknown = footprint(TWO_STEMS, Resources(), preloaded=True, audio_seconds=math.inf)
    assert unknown == two, "the length matters to whole tracks alone"


def test_what_is_observed_takes_the_table_s_place() -> None:
    """After three children, their largest peak and a tenth; the fork server's share stays."""
    table = Footprint(shared_bytes=500, private_bytes=400)
    assert corrected(table, [100, 100]) == table
    assert corrected(table, [100, 300, 200]) == Footprint(shared_bytes=500, private_bytes=330)


def test_a_forecast_learns_for_each_kind_of_effort() -> None:
    """Lean children say nothing of others' memory; what nine of ten took is expected of time."""
    pace = TWO_STEMS.pace(1)
    forecast = Forecast(TWO_STEMS, preloaded=True)
    before = forecast.footprint(Resources()), forecast.seconds(600, Resources())
    for _ in range(3):
        forecast.learn(Resources(lean=True), private_bytes=1, audio_seconds=600, seconds=300)
    assert forecast.footprint(Resources()) == before[0]
    assert forecast.footprint(Resources(lean=True)).private_bytes == 1
    assert forecast.seconds(600, Resources()) == pytest.approx(300)
    for _ in range(30):
        forecast.learn(Resources(), private_bytes=None, audio_seconds=600, seconds=20)
    assert forecast.seconds(600, Resources()) == pytest.approx(20), "also when that is less"
    assert forecast.seconds(1200, Resources()) < 40, "the start does not grow with the track"
    assert expected_seconds(600, pace, [(600, 1)]) == expected_seconds(600, pace)
    assert expected_seconds(600, pace, [(600, 999)]) == pytest.approx(999)
    before_cap = forecast.cap_bytes(Resources())
    for _ in range(3):
        forecast.learn(Resources(), private_bytes=1, audio_seconds=5, seconds=2)
    assert forecast.footprint(Resources()) == before[0], "short tracks tell nothing of memory"
    assert forecast.seconds(5, Resources()) == pytest.approx(2), "but how long the start takes"
    assert forecast.cap_bytes(Resources(lean=True)) == before_cap, "a leaner retry has more room"
    assert expected_seconds(0, pace) > 0
    assert expected_seconds(600, pace) > expected_seconds(600, TWO_STEMS.pace(2)) > 0


def test_a_whole_track_has_its_time_and_its_memory() -> None:
    """Nobody calls it stalled while its one step lasts; what one took says nothing of another."""
    whole = Forecast(Workload(kind="whole", stems=2), preloaded=True)
    assert whole.silent_seconds(600, Resources()) == whole.seconds(600, Resources())
    assert Forecast(TWO_STEMS, preloaded=True).silent_seconds(600, Resources()) == 0
    assert whole.seconds(600, Resources()) > Forecast(TWO_STEMS, preloaded=True).seconds(
        600, Resources()
    )
    for _ in range(3):
        whole.learn(Resources(), private_bytes=1, audio_seconds=60, seconds=30)
    assert whole.footprint(Resources(), 600).private_bytes > 10_000 * MEBIBYTE


def test_a_whole_track_that_can_never_fit_is_refused_with_figures() -> None:
    """By the budget, by the cap of a file, or by the machine; else not at all."""
    host = HostMemory(total_bytes=8 * GIB, available_bytes=6 * GIB)
    small = Footprint(shared_bytes=500 * MEBIBYTE, private_bytes=400 * MEBIBYTE)
    large = Footprint(shared_bytes=500 * MEBIBYTE, private_bytes=5 * GIB)
    budget = Budget(total_bytes=4 * GIB, per_file_bytes=None, min_free_bytes=GIB)
    assert refusal(small, budget, host) is None
    diagnosis = refusal(large, budget, host)
    assert diagnosis is not None
    assert diagnosis.reason is Reason.TOO_LARGE
    assert "the budget allows 4,096 MiB" in diagnosis.message
    capped = replace(budget, total_bytes=7 * GIB, per_file_bytes=GIB)
    diagnosis = refusal(large, capped, host)
    assert diagnosis is not None
    assert "--max-ram-per-file allows 1,024 MiB" in diagnosis.message

"""The memory budget, and the concurrency that it allows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stemsplit.core.errors import InsufficientMemoryError
from stemsplit.core.limits import Limits, Resources
from stemsplit.core.outcome import Reason
from stemsplit.supervisor.budget import (
    Budget,
    Concurrency,
    HostMemory,
    budget_of,
    choose_concurrency,
    refusal,
)
from stemsplit.supervisor.prediction import MEBIBYTE, SUPERVISOR_BYTES, Footprint

GIB = 1024 * MEBIBYTE
LAPTOP = HostMemory(total_bytes=8 * GIB, available_bytes=5 * GIB)
BUDGET = Budget(total_bytes=3 * GIB, per_file_bytes=None, min_free_bytes=GIB)


def _need(resources: Resources) -> Footprint:
    """Return 440 MiB for the fork server, and 400 MiB for a child, or 300 MiB if it is lean."""
    private = 300 if resources.lean else 400
    return Footprint(
        shared_bytes=500 * MEBIBYTE - SUPERVISOR_BYTES, private_bytes=private * MEBIBYTE
    )


def _concurrency(budget: Budget, processors: int, **options: int) -> Concurrency:
    requested = {"jobs": None, "threads": None, "tracks": None} | options
    return choose_concurrency(_need, budget, LAPTOP, processors, **requested)


def test_limits_become_bytes() -> None:
    """By default 60 % of available memory, with a tenth of all memory or 512 MiB kept free."""
    assert budget_of(Limits(), LAPTOP) == Budget(
        total_bytes=3 * GIB, per_file_bytes=None, min_free_bytes=round(0.1 * 8 * GIB)
    )
    tiny = HostMemory(total_bytes=GIB, available_bytes=GIB)
    assert budget_of(Limits(), tiny).min_free_bytes == 512 * MEBIBYTE
    limits = Limits.parse(max_ram="50%", max_ram_per_file="1GiB", min_free="25%")
    assert budget_of(limits, LAPTOP) == Budget(
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
def test_processors_and_memory_limit_the_workers(
    total_mib: int, processors: int, expected: Concurrency
) -> None:
    """As many children as fit, lean if that fits more; they share the processors equally."""
    assert _concurrency(replace(BUDGET, total_bytes=total_mib * MEBIBYTE), processors) == expected


def test_requested_concurrency_is_limited_by_memory() -> None:
    """`--jobs` and `--threads` count only as far as memory and the number of tracks allow."""
    assert _concurrency(BUDGET, 4, jobs=2) == Concurrency(workers=2, resources=Resources(threads=2))
    assert _concurrency(BUDGET, 4, threads=2) == Concurrency(
        workers=2, resources=Resources(threads=2)
    )
    assert _concurrency(BUDGET, 4, tracks=1) == Concurrency(
        workers=1, resources=Resources(threads=4)
    )
    assert _concurrency(BUDGET, 2, jobs=99).workers == 8


@pytest.mark.parametrize(
    ("budget", "text", "remedy"),
    [
        (replace(BUDGET, total_bytes=799 * MEBIBYTE), "800 MiB", "--max-ram 800MiB"),
        (replace(BUDGET, min_free_bytes=8 * GIB), "8,192 MiB in total", "--min-free"),
        (
            replace(BUDGET, per_file_bytes=100 * MEBIBYTE),
            "--max-ram-per-file allows 100 MiB",
            "--max-ram-per-file 550MiB",
        ),
    ],
)
def test_an_insufficient_budget_is_an_error_with_figures(
    budget: Budget, text: str, remedy: str
) -> None:
    """The error names the memory of one track, the memory available, and the option to change."""
    with pytest.raises(InsufficientMemoryError) as error:
        _concurrency(budget, 2)
    assert text in error.value.message
    assert remedy in error.value.remedy


def test_a_whole_track_that_can_never_fit_is_refused() -> None:
    """The message gives the budget or the cap per file."""
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

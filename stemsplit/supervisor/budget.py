"""Runs in the supervisor. The memory budget, and how many children fit into it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.errors import InsufficientMemoryError
from stemsplit.core.limits import Resources
from stemsplit.core.outcome import Reason
from stemsplit.core.text import mebibytes
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.core.limits import Limits
    from stemsplit.supervisor.prediction import Footprint

DEFAULT_SHARE = 0.6
"""Default budget, as a share of the memory available to this process."""

FREE_SHARE = 0.1
MIN_FREE_BYTES = 512 * 2**20
"""Default of the memory left free: a share of the machine's memory, but at least this much."""


UNKNOWN_LENGTH = ExitDiagnosis(
    reason=Reason.TOO_LARGE,
    message="Its length is unknown until it is decoded, so --mwf cannot check whether the whole "
    "track fits into memory.",
    remedy="Separate a part of it with --duration, or convert it to flac first with `stemsplit "
    "convert`.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """Memory of this process: the smallest bound of the machine, its cgroups and its rlimits.

    Attributes:
        total_bytes: most that the process may use.
        available_bytes: most that it may use now without making the machine swap.
    """

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Memory limits of one batch in bytes.

    Attributes:
        total_bytes: limit of all processes together.
        per_file_bytes: cap of one child with its descendants; None to predict it.
        min_free_bytes: memory left free for other programs.
    """

    total_bytes: int
    per_file_bytes: int | None
    min_free_bytes: int


def budget_of(limits: Limits, host: HostMemory) -> Budget:
    """Return the budget that `limits` allow on this machine now."""
    default_free = max(round(FREE_SHARE * host.total_bytes), MIN_FREE_BYTES)
    return Budget(
        total_bytes=(
            round(DEFAULT_SHARE * host.available_bytes)
            if limits.max_ram is None
            else limits.max_ram.of(host.available_bytes)
        ),
        per_file_bytes=(
            None
            if limits.max_ram_per_file is None
            else limits.max_ram_per_file.of(host.available_bytes)
        ),
        min_free_bytes=(
            default_free if limits.min_free is None else limits.min_free.of(host.total_bytes)
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """How many children run at once, and the resources of each."""

    workers: int
    resources: Resources


def choose_concurrency(
    need: Callable[[Resources], Footprint],
    budget: Budget,
    host: HostMemory,
    processors: int,
    *,
    jobs: int | None,
    threads: int | None,
    tracks: int | None = None,
) -> Concurrency:
    """Choose the number of children and their resources from processors and memory.

    Two children with one thread each are faster than one with two, so more children come before
    more threads. Children are lean if more of them fit then.

    Args:
        need: predicts the memory of a child.
        budget: memory limits.
        host: memory of the machine.
        processors: processors available to this process, at least 1.
        jobs: requested number of children; None to choose it.
        threads: requested threads per child; None to choose them.
        tracks: number of tracks; None if unknown.

    Raises:
        InsufficientMemoryError: if not even one child fits.
    """
    wanted = jobs or max(1, processors // (threads or 1))
    if tracks is not None:
        wanted = max(1, min(wanted, tracks))

    def count(*, lean: bool) -> int:
        resources = Resources(threads=threads or 1, lean=lean)
        return min(wanted, _count_fitting(need(resources), budget, host))

    workers = max(count(lean=False), count(lean=True))
    if workers < 1:
        raise insufficient_memory(need(Resources(threads=1, lean=True)), budget, host)
    return Concurrency(
        workers=workers,
        resources=Resources(
            threads=threads or max(1, processors // workers), lean=count(lean=False) < workers
        ),
    )


def _count_fitting(need: Footprint, budget: Budget, host: HostMemory) -> int:
    """Return how many children fit into the budget, and into the machine if it were idle."""
    if budget.per_file_bytes is not None and need.child_bytes > budget.per_file_bytes:
        return 0
    room = _room(budget, host)
    fixed = need.alone_bytes - need.private_bytes
    return max(0, (room - fixed) // need.private_bytes)


def _room(budget: Budget, host: HostMemory) -> int:
    return min(budget.total_bytes, host.total_bytes - budget.min_free_bytes)


def insufficient_memory(
    need: Footprint, budget: Budget, host: HostMemory
) -> InsufficientMemoryError:
    """Return the error for a budget into which not even one child fits."""
    if budget.per_file_bytes is not None and need.child_bytes > budget.per_file_bytes:
        return InsufficientMemoryError(
            f"One track needs about {mebibytes(need.child_bytes)} of memory, and "
            f"--max-ram-per-file allows {mebibytes(budget.per_file_bytes)}.",
            f"Use --max-ram-per-file {_rounded_up(need.child_bytes)}, or a smaller model.",
        )
    if need.alone_bytes > host.total_bytes - budget.min_free_bytes:
        return InsufficientMemoryError(
            f"One track needs about {mebibytes(need.alone_bytes)} of memory. The machine has "
            f"{mebibytes(host.total_bytes)} in total, of which {mebibytes(budget.min_free_bytes)} "
            "must stay free.",
            "Lower --min-free, choose a smaller model, or use a machine with more memory.",
        )
    return InsufficientMemoryError(
        f"One track needs about {mebibytes(need.alone_bytes)} of memory, and the budget is "
        f"{mebibytes(budget.total_bytes)} of the {mebibytes(host.available_bytes)} available now.",
        f"Use --max-ram {_rounded_up(need.alone_bytes)}, close other programs, or choose a smaller "
        "model.",
    )


def refusal(need: Footprint, budget: Budget, host: HostMemory) -> ExitDiagnosis | None:
    """Return the diagnosis of a track whose child can never fit; None if it can."""
    limit = "the budget allows"
    needed, allowed = need.alone_bytes, _room(budget, host)
    if budget.per_file_bytes is not None and need.child_bytes > budget.per_file_bytes:
        limit = "--max-ram-per-file allows"
        needed, allowed = need.child_bytes, budget.per_file_bytes
    if needed <= allowed:
        return None
    return ExitDiagnosis(
        reason=Reason.TOO_LARGE,
        message=f"With --mwf, the whole track needs about {mebibytes(needed)} of memory; {limit} "
        f"{mebibytes(allowed)}.",
        remedy="Leave out --mwf, separate a part with --duration, or allow more memory.",
    )


def memory_wait_expired(
    need: Footprint, budget: Budget, host: HostMemory, seconds: float
) -> InsufficientMemoryError:
    """Return the error for a track that has waited `seconds` for other programs' memory."""
    return InsufficientMemoryError(
        f"Not enough memory became available in {seconds:.0f} s: one track needs about "
        f"{mebibytes(need.alone_bytes)}, and the machine has {mebibytes(host.available_bytes)} "
        f"available, of which {mebibytes(budget.min_free_bytes)} must stay free.",
        "Close other programs, or lower --min-free, and run the same command again.",
    )


def _rounded_up(count: int) -> str:
    """Return a size to use as an option's value, rounded up to 50 MiB."""
    return f"{-(-count // (50 * 2**20)) * 50}MiB"

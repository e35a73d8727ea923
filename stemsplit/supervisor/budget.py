"""Runs in the supervisor. The budget of memory, and how many children it allows. Pure."""

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
"""Of the memory that this process can have now: the budget where none is named."""

FREE_SHARE = 0.1
LEAST_FREE_BYTES = 512 * 2**20
"""What is left free for others where nothing is named."""


UNKNOWN_LENGTH = ExitDiagnosis(
    reason=Reason.TOO_LARGE,
    message="How long it is cannot be told before it is decoded, and so neither whether it fits "
    "into memory as a whole, as --mwf needs it.",
    remedy="Take a part of it with --duration, or `stemsplit convert` it to flac first.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """Memory that this process can have: the machine's, its cgroup's, its rlimit's, the smallest.

    Attributes:
        total_bytes: at most.
        available_bytes: now, without making others swap.
    """

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The limits of one batch in bytes.

    Attributes:
        total_bytes: of all processes together.
        per_file_bytes: of one child with all that it starts; None leaves it to the prediction.
        min_free_bytes: left free for others.
    """

    total_bytes: int
    per_file_bytes: int | None
    min_free_bytes: int


def budget_of(limits: Limits, host: HostMemory) -> Budget:
    """Turn limits into bytes on this machine, now."""
    least_free = max(round(FREE_SHARE * host.total_bytes), LEAST_FREE_BYTES)
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
            least_free if limits.min_free is None else limits.min_free.of(host.total_bytes)
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """How many children work at once, and how each goes about it."""

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
    """Weigh processors against memory: as many children as fit, of one thread each if possible.

    Two children with one thread each do more than one with two, so children come first. Where
    more of them fit if each keeps one instrument's U-Net in memory at a time, they do that.

    Args:
        need: predicts the memory of a child.
        budget: the limits.
        host: the machine's memory.
        processors: that this process may use, at least 1.
        jobs: how many children a person wants at once, None to choose.
        threads: how many a person wants for each, None to choose.
        tracks: how many there are to do, None if that is not known.

    Raises:
        InsufficientMemoryError: if not even one child fits, with what it would need.
    """
    wanted = jobs or max(1, processors // (threads or 1))
    if tracks is not None:
        wanted = max(1, min(wanted, tracks))

    def fitting(*, lean: bool) -> int:
        resources = Resources(threads=threads or 1, lean=lean)
        return min(wanted, _fitting(need(resources), budget, host))

    workers = max(fitting(lean=False), fitting(lean=True))
    if workers < 1:
        raise too_small(need(Resources(threads=1, lean=True)), budget, host)
    return Concurrency(
        workers=workers,
        resources=Resources(
            threads=threads or max(1, processors // workers), lean=fitting(lean=False) < workers
        ),
    )


def _fitting(need: Footprint, budget: Budget, host: HostMemory) -> int:
    """Count the children that fit into the budget, and into the machine if it were idle."""
    if budget.per_file_bytes is not None and need.child_bytes > budget.per_file_bytes:
        return 0
    room = min(budget.total_bytes, host.total_bytes - budget.min_free_bytes)
    fixed = need.alone_bytes - need.private_bytes
    return max(0, (room - fixed) // need.private_bytes)


def too_small(need: Footprint, budget: Budget, host: HostMemory) -> InsufficientMemoryError:
    """Say plainly that not even one child fits, and what it would need."""
    if budget.per_file_bytes is not None and need.child_bytes > budget.per_file_bytes:
        return InsufficientMemoryError(
            f"One track takes about {mebibytes(need.child_bytes)} of memory, and "
            f"--max-ram-per-file allows {mebibytes(budget.per_file_bytes)}.",
            f"Allow --max-ram-per-file {_rounded(need.child_bytes)}, or choose a smaller model.",
        )
    if need.alone_bytes > host.total_bytes - budget.min_free_bytes:
        return InsufficientMemoryError(
            f"One track takes about {mebibytes(need.alone_bytes)} of memory. There are "
            f"{mebibytes(host.total_bytes)} in all, of which {mebibytes(budget.min_free_bytes)} "
            "are to be left free.",
            "Leave less free with --min-free, choose a smaller model, or use a machine with more "
            "memory.",
        )
    return InsufficientMemoryError(
        f"One track takes about {mebibytes(need.alone_bytes)} of memory, and the budget is "
        f"{mebibytes(budget.total_bytes)} of the {mebibytes(host.available_bytes)} that are free "
        "now.",
        f"Allow --max-ram {_rounded(need.alone_bytes)}, close other programs, or choose a smaller "
        "model.",
    )


def refusal(need: Footprint, budget: Budget, host: HostMemory) -> ExitDiagnosis | None:
    """Refuse a track whose child can never fit, whatever becomes free; None if it can."""
    room = min(budget.total_bytes, host.total_bytes - budget.min_free_bytes)
    whose = "the budget allows"
    wanted, allowed = need.alone_bytes, room
    if budget.per_file_bytes is not None and need.child_bytes > budget.per_file_bytes:
        whose = "--max-ram-per-file allows"
        wanted, allowed = need.child_bytes, budget.per_file_bytes
    if wanted <= allowed:
        return None
    return ExitDiagnosis(
        reason=Reason.TOO_LARGE,
        message=f"Separated as a whole, as --mwf does, it takes about {mebibytes(wanted)} of "
        f"memory; {whose} {mebibytes(allowed)}.",
        remedy="Leave --mwf out, take less of it with --duration, or allow more memory.",
    )


def no_room(
    need: Footprint, budget: Budget, host: HostMemory, seconds: float
) -> InsufficientMemoryError:
    """Say that nothing could start for so long, because others held the memory."""
    return InsufficientMemoryError(
        f"No memory came free in {seconds:.0f} s: one track takes about "
        f"{mebibytes(need.alone_bytes)}, and the machine has {mebibytes(host.available_bytes)}, of "
        f"which {mebibytes(budget.min_free_bytes)} are to be left free.",
        "Close other programs, or leave less free with --min-free, and run the same command again.",
    )


def _rounded(count: int) -> str:
    """Give a size that a person can pass on, rounded up to 50 MiB."""
    return f"{-(-count // (50 * 2**20)) * 50}MiB"

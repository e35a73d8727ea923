"""Runs in the supervisor. How large a shard of a batch is: processors, memory, audio. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.limits import Resources
from stemsplit.supervisor.prediction import SUPERVISOR_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stemsplit.supervisor.prediction import Footprint

MOST_JOBS = 8
"""So many children of a shard share one fork server at the most: it is then an eighth of a child's
memory, and a shard that fails takes no more with it."""

_ROUNDS = 2
"""Each shard takes the share of a slot in what is left, divided by this: the last ones are small
(guided self-scheduling, Polychronopoulos and Kuck 1987, with half of its chunk)."""

_LEAST_SECONDS = 300.0
"""Of audio for each child of a shard, where the batch has so much: it takes about twenty times as
long as a shard's own start."""

MOST_SECONDS = 4 * 3600.0
"""Of audio for each child of a shard."""

MOST_TRACKS = 500
"""Of a shard: what is sent to a node at once stays below a megabyte."""

_TRACK_SECONDS = 30.0
"""Of audio, which take about as long as a child's own start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A node of the cluster, as it counts here.

    Attributes:
        node: its number in the cluster.
        name: for people.
        cpus: that Ray gives to tasks there.
        memory_bytes: likewise.
    """

    node: str
    name: str
    cpus: float
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSize:
    """What one shard takes of a node, whatever is in it.

    Attributes:
        jobs: children at once.
        resources: how each begins.
        memory_bytes: of all processes of the shard together.
    """

    jobs: int
    resources: Resources
    memory_bytes: int

    @property
    def cpus(self) -> int:
        """Processors."""
        return self.jobs * self.resources.threads

    def fits(self, machine: Machine) -> int:
        """Count the shards that a machine can take at once."""
        return int(min(machine.cpus // self.cpus, machine.memory_bytes // self.memory_bytes))

    def slots(self, machines: Sequence[Machine]) -> int:
        """Count the shards that several machines can take at once."""
        return sum(self.fits(one) for one in machines)


def choose_shard_size(
    machines: Sequence[Machine],
    need: Callable[[Resources], Footprint],
    *,
    jobs: int | None,
    threads: int | None,
    max_ram: Callable[[int], int] | None,
) -> ShardSize | None:
    """Choose the shape with which most children work at once; of those alike, the largest.

    Args:
        machines: of the cluster; none is taken for one that any shard of one child fits into.
        need: predicts the memory of a child.
        jobs: how many children a person wants in a shard, None to choose.
        threads: how many a person wants for each, None to choose: one.
        max_ram: gives what a person allows a shard of a machine's memory; None if nobody says.

    Returns:
        None if no shard fits into any machine.
    """
    smallest = min((one.memory_bytes for one in machines), default=0)
    # A share of what nobody knows yet is nothing.
    allowed = None if max_ram is None else max_ram(smallest) or None
    best: tuple[int, int] = (0, 0)
    chosen: ShardSize | None = None
    for lean in (False, True):
        resources = Resources(threads=threads or 1, lean=lean)
        for count in range(1, MOST_JOBS + 1) if jobs is None else (jobs,):
            memory = memory_of(need(resources), count)
            if allowed is not None:
                if memory > allowed:
                    continue
                memory = allowed
            shard_size = ShardSize(jobs=count, resources=resources, memory_bytes=memory)
            if not machines:
                return shard_size
            rank = shard_size.slots(machines) * count, count
            if rank[0] and rank > best:
                best, chosen = rank, shard_size
    return chosen


def memory_of(need: Footprint, jobs: int) -> int:
    """Give what a shard takes: one child more than work at once, which closes its files."""
    return SUPERVISOR_BYTES + need.shared_bytes + (jobs + 1) * need.private_bytes


def weight(audio_seconds: float) -> float:
    """Give how much a track counts in a shard, in seconds of audio."""
    return audio_seconds + _TRACK_SECONDS


def tracks_of_next(weights: Sequence[float], *, left: float, slots: int, jobs: int) -> int:
    """Decide how many of the tracks in line the next shard takes, at least one.

    Args:
        weights: of the tracks in line, in order; as many as may matter.
        left: the weight of all that are in line.
        slots: shards that the cluster can work on at once.
        jobs: children of a shard.
    """
    share = left / max(1, slots)
    rounds = _ROUNDS if slots > 1 else 1
    target = min(max(share / rounds, min(share, _LEAST_SECONDS * jobs)), MOST_SECONDS * jobs)
    taken, count = 0.0, 0
    for one in weights[:MOST_TRACKS]:
        # The one that goes beyond the target is taken if more than half of it lies within.
        if count and taken + one / 2 > target:
            break
        taken += one
        count += 1
    return max(count, 1)

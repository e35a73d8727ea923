"""Runs in the supervisor. Chooses the size of shards: processors, memory, tracks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.limits import Resources
from stemsplit.supervisor.prediction import SUPERVISOR_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stemsplit.supervisor.prediction import Footprint

MAX_JOBS = 8
"""Maximum number of children in a shard. The fork server that they share then takes an eighth of a
child's memory, and a larger shard would only lose more tracks when it fails."""

_ROUNDS = 2
"""A shard takes the share of one slot in the remaining tracks, divided by this. The last shards are
small (guided self-scheduling, Polychronopoulos and Kuck 1987, with half of its chunk size)."""

_MIN_SECONDS = 300.0
"""Minimum audio per child of a shard, if the batch has that much. Separating it takes about twenty
times as long as starting a shard."""

MAX_SECONDS = 4 * 3600.0
"""Maximum audio per child of a shard."""

MAX_TRACKS = 500
"""Maximum number of tracks of a shard, which keeps its first message below a megabyte."""

_TRACK_SECONDS = 30.0
"""Audio that takes about as long to separate as starting a child."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the cluster.

    Attributes:
        node_id: id in the cluster.
        name: name for the user.
        cpus: processors that Ray assigns to tasks.
        memory_bytes: memory that Ray assigns to tasks.
    """

    node_id: str
    name: str
    cpus: float
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSize:
    """The resources of a shard, which are the same for all shards of a batch.

    Attributes:
        jobs: number of children that run at once.
        resources: resources of a first attempt.
        memory_bytes: memory of all processes of the shard.
    """

    jobs: int
    resources: Resources
    memory_bytes: int

    @property
    def cpus(self) -> int:
        """Number of processors."""
        return self.jobs * self.resources.threads

    def slots(self, nodes: Sequence[Node]) -> int:
        """Return how many shards fit on all nodes at once."""
        return sum(
            int(min(node.cpus // self.cpus, node.memory_bytes // self.memory_bytes))
            for node in nodes
        )


def choose_shard_size(
    nodes: Sequence[Node],
    need: Callable[[Resources], Footprint],
    *,
    jobs: int | None,
    threads: int | None,
    max_ram: Callable[[int], int] | None,
) -> ShardSize | None:
    """Return the size with which most children run at once; of equal ones, the largest.

    Args:
        nodes: nodes of the cluster. Without nodes, the smallest size is returned.
        need: predicts the memory of a child.
        jobs: number of children in a shard; None to choose.
        threads: threads of each child; None for one.
        max_ram: returns the memory limit of a shard for the memory of a node; None for no limit.

    Returns:
        None if no shard fits on any node.
    """
    smallest = min((node.memory_bytes for node in nodes), default=0)
    # A percentage of unknown memory is no limit.
    allowed = None if max_ram is None else max_ram(smallest) or None
    best: tuple[int, int] = (0, 0)
    chosen: ShardSize | None = None
    for lean in (False, True):
        resources = Resources(threads=threads or 1, lean=lean)
        for count in range(1, MAX_JOBS + 1) if jobs is None else (jobs,):
            memory = shard_memory(need(resources), count)
            if allowed is not None:
                if memory > allowed:
                    continue
                memory = allowed
            shard_size = ShardSize(jobs=count, resources=resources, memory_bytes=memory)
            if not nodes:
                return shard_size
            rank = shard_size.slots(nodes) * count, count
            if rank[0] and rank > best:
                best, chosen = rank, shard_size
    return chosen


def shard_memory(need: Footprint, jobs: int) -> int:
    """Return the memory of a shard in bytes, with one more child that closes its files."""
    return SUPERVISOR_BYTES + need.shared_bytes + (jobs + 1) * need.private_bytes


def track_weight(audio_seconds: float) -> float:
    """Return the weight of a track in a shard, in seconds of audio."""
    return audio_seconds + _TRACK_SECONDS


def choose_track_count(weights: Sequence[float], *, left: float, slots: int, jobs: int) -> int:
    """Return how many of the waiting tracks the next shard takes, at least one.

    Args:
        weights: weights of the first waiting tracks, at least `MAX_TRACKS` if there are more.
        left: weight of all waiting tracks.
        slots: number of shards that run at once.
        jobs: number of children in a shard.
    """
    share = left / max(1, slots)
    rounds = _ROUNDS if slots > 1 else 1
    target = min(max(share / rounds, min(share, _MIN_SECONDS * jobs)), MAX_SECONDS * jobs)
    taken, count = 0.0, 0
    for weight in weights[:MAX_TRACKS]:
        # A track that crosses the target is taken if more than half of it is below the target.
        if count and taken + weight / 2 > target:
            break
        taken += weight
        count += 1
    return max(count, 1)

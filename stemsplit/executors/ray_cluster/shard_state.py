"""Runs in the supervisor. The state of a shard, from its submission to its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.executors.ray_cluster.sharding import MAX_SECONDS, track_weight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stemsplit.core.messages import Finished
    from stemsplit.executors.ray_cluster.remote_track_task import RemoteTrackTask
    from stemsplit.executors.ray_cluster.sharding import ShardSize


@dataclass(slots=True, kw_only=True)
class ShardState:
    """A shard that has not ended.

    Attributes:
        not_on: ids of the nodes that were excluded when it was submitted.
        tracks: its unfinished tracks, by number.
        wanted: number of tracks that it can start now.
        weight: weight of all tracks that were assigned to it.
        started: numbers of the unfinished tracks that may have a child.
        results: results of the tracks that may be published.
        node_id, name: its node; empty until a node has started it.
        last_message_at: time of its last message, in monotonic seconds.
        total_bytes: memory of all its processes.
        trees: memory of each child with its descendants, by the source of its track.
    """

    not_on: tuple[str, ...] = ()
    tracks: dict[int, RemoteTrackTask] = field(default_factory=dict)
    wanted: int = 0
    weight: float = 0.0
    started: set[int] = field(default_factory=set)
    results: dict[int, Finished] = field(default_factory=dict)
    node_id: str = ""
    name: str = ""
    last_message_at: float = 0.0
    total_bytes: int = 0
    trees: dict[bytes, int] = field(default_factory=dict)

    @property
    def has_task(self) -> bool:
        """Whether tracks were assigned to it."""
        return self.weight > 0

    def assign(self, track_tasks: Sequence[RemoteTrackTask]) -> None:
        """Add tracks, which meet its present demand."""
        self.tracks |= {track_task.number: track_task for track_task in track_tasks}
        self.weight += sum(track_weight(track_task.likely_seconds) for track_task in track_tasks)
        self.wanted = 0

    def forget(self, number: int) -> RemoteTrackTask:
        """Remove a track and return it."""
        self.started.discard(number)
        self.results.pop(number, None)
        return self.tracks.pop(number)

    def record_memory(self, total_bytes: int, trees: Mapping[int, int]) -> None:
        """Store a memory sample, with `trees` by number of track."""
        self.total_bytes = total_bytes
        self.trees = {
            self.tracks[number].job.source: size
            for number, size in trees.items()
            if number in self.tracks
        }

    def is_used_up(self, shard_size: ShardSize) -> bool:
        """Return whether it has had its maximum of audio, so that a new shard replaces it."""
        return self.weight >= MAX_SECONDS * shard_size.jobs

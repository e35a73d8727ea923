"""Runs in the supervisor. Submits shards to the cluster and assigns tracks to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from stemsplit.core.text import counted, mebibytes
from stemsplit.executors.ray_cluster import faults, messages
from stemsplit.executors.ray_cluster.client_interface import ShardEnded, Submission
from stemsplit.executors.ray_cluster.faults import WaitDecision
from stemsplit.executors.ray_cluster.shard_state import ShardState
from stemsplit.executors.ray_cluster.sharding import choose_track_count
from stemsplit.supervisor.pool_interface import Noted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stemsplit.executors.ray_cluster.client_interface import ClusterClient
    from stemsplit.executors.ray_cluster.remote_track_task import RemoteTrackQueue, RemoteTrackTask
    from stemsplit.executors.ray_cluster.sharding import ShardSize
    from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis

_STOP_SECONDS = 15.0
"""Time that shards have to stop before they are killed."""


class TaskBuilder(Protocol):
    """Builds messages with the tracks of a shard, with paths of the nodes."""

    def shard_task(self, track_tasks: list[RemoteTrackTask], /) -> messages.ShardTask:
        """Return the first message to a shard."""

    def assigned_tracks(
        self, track_tasks: list[RemoteTrackTask], /
    ) -> tuple[messages.AssignedTrack, ...]:
        """Return the tracks of a further message."""


@dataclass(slots=True, kw_only=True)
class ShardScheduler:
    """Keeps the cluster busy with shards, and shards busy with tracks.

    See `stemsplit.executors.ray_cluster.pool.ClusterPool` for its other arguments.

    Attributes:
        queue: tracks that wait.
        shards: shards that have not ended, by number.
        is_draining: whether no more tracks are assigned.
    """

    client: ClusterClient
    shard_size: ShardSize
    model_name: str
    builder: TaskBuilder
    queue: RemoteTrackQueue
    clock: Callable[[], float]
    shards: dict[int, ShardState] = field(default_factory=dict)
    is_draining: bool = False
    _last_number: int = 0
    _idle_since: float | None = None
    _has_noted_wait: bool = False
    _frames: list[tuple[int, bytes]] = field(default_factory=list)
    _has_drained: bool = False

    @property
    def is_running(self) -> bool:
        """Whether a node has a shard."""
        return any(shard.node_id for shard in self.shards.values())

    @property
    def is_done(self) -> bool:
        """Whether the batch is done. Shards that no node has started yet have no tracks."""
        return not self.is_running and (self.is_draining or not self.queue)

    def send(self, number: int, message: messages.SupervisorMessage) -> None:
        """Send a message to a shard with the next `flush`."""
        self._frames.append((number, messages.encode(message)))

    def flush(self) -> None:
        """Send all messages since the last call."""
        if self._frames:
            self.client.send(self._frames)
            self._frames = []

    def drain_shards(self) -> None:
        """Pass a drain on to the shards, once."""
        if self.is_draining and not self._has_drained:
            self._has_drained = True
            for number in self.shards:
                self.drain(number)

    def drain(self, number: int) -> None:
        """Let a shard finish its started tracks, or close it if it has no task yet."""
        has_task = self.shards[number].has_task
        self.send(number, messages.Drain() if has_task else messages.Close())

    def submit_shards(self) -> None:
        """Submit as many shards as fit on the nodes, and one more.

        The additional shard waits without tracks. It starts when a node joins or another shard
        ends, and shows an autoscaler that there is demand.
        """
        not_on = tuple(self.client.excluded)
        is_needed = bool(self.queue) and not self.is_draining
        for number, shard in list(self.shards.items()):
            # Cancel waiting shards that are not needed, or that could start on an excluded node.
            if not shard.node_id and (not is_needed or shard.not_on != not_on):
                self.client.cancel(number)
                del self.shards[number]
        if not is_needed:
            return
        waiting = sum(not shard.node_id for shard in self.shards.values())
        slots = self.shard_size.slots(self.client.nodes())
        for _ in range(min(slots + 1 - len(self.shards), len(self.queue) + 1 - waiting)):
            self._last_number += 1
            self.shards[self._last_number] = ShardState(last_message_at=self.clock(), not_on=not_on)
            self.client.submit(
                Submission(
                    number=self._last_number,
                    model_name=self.model_name,
                    cpus=self.shard_size.cpus,
                    memory_bytes=self.shard_size.memory_bytes,
                    not_on=not_on,
                )
            )

    def wait_for_nodes(self) -> Iterator[Noted]:
        """Yield a message for the user if no shard is running for a while.

        Raises:
            ClusterError: if the batch has waited too long, or all nodes are excluded.
        """
        if self.is_running:
            self._idle_since, self._has_noted_wait = None, False
            return
        now = self.clock()
        excluded = self.client.excluded
        self._idle_since = now if self._idle_since is None else self._idle_since
        decision = faults.while_waiting(
            now - self._idle_since,
            has_nodes=bool(self.client.nodes()),
            has_pending_nodes=self.client.has_pending_nodes(),
            has_excluded_nodes=bool(excluded),
        )
        if decision is WaitDecision.END_WITHOUT_USABLE_NODES:
            raise faults.no_usable_node(excluded)
        if decision is not WaitDecision.CONTINUE and not self._has_noted_wait:
            self._has_noted_wait = True
            yield Noted(
                text=f"waiting for a node with {counted(self.shard_size.cpus, 'processor')} and "
                f"{mebibytes(self.shard_size.memory_bytes)} of free memory"
            )
        if decision is WaitDecision.END_WITHOUT_NODES:
            raise faults.no_nodes_left()

    def on_shard_started(self, shard: ShardState, node_id: str) -> None:
        """Record the node of a shard, and decide how many tracks it starts with."""
        nodes = self.client.nodes()
        names = {node.node_id: node.name for node in nodes}
        shard.node_id, shard.name = node_id, names.get(node_id, node_id[:8])
        shard.wanted = choose_track_count(
            self.queue.next_weights(),
            left=self.queue.weight,
            slots=self.shard_size.slots(nodes),
            jobs=self.shard_size.jobs,
        )

    def assign_tracks(self) -> list[tuple[RemoteTrackTask, ExitDiagnosis]]:
        """Assign tracks to the shards that want work, as far as the gate permits.

        A shard on a node that has just joined gets tracks after the handshake of the node.

        Returns:
            the tracks that the gate has ended without a start.
        """
        ended: list[tuple[RemoteTrackTask, ExitDiagnosis]] = []
        usable = {node.node_id for node in self.client.nodes()}
        for number, shard in self.shards.items():
            if not shard.wanted or self.is_draining or shard.node_id not in usable:
                continue
            is_used_up = shard.is_used_up(self.shard_size)
            track_tasks, ended_now = self.queue.pop(0 if is_used_up else shard.wanted)
            ended += ended_now
            if not track_tasks and self.queue and not is_used_up:
                continue  # the gate is closed
            if not track_tasks:
                self.send(number, messages.Close())
            elif shard.has_task:
                tracks = self.builder.assigned_tracks(track_tasks)
                self.send(number, messages.MoreTracks(tracks=tracks))
            else:
                self.send(number, self.builder.shard_task(track_tasks))
            shard.assign(track_tasks)
        return ended

    def release(self, shard: ShardState, numbers: Iterable[int]) -> list[RemoteTrackTask]:
        """Remove tracks from a shard and return them; other numbers are ignored."""
        released = [shard.forget(number) for number in numbers if number in shard.tracks]
        for track_task in released:
            self.queue.release(track_task.number)
        return released

    def exclude_node(self, shard: ShardState, why: str) -> None:
        """Exclude the node of a shard for a while, and let its shards finish their children."""
        self.client.exclude(shard.node_id, why, shard.name)
        for number, other in self.shards.items():
            if other.node_id == shard.node_id:
                self.drain(number)

    def stop_shards(self, wait_seconds: float) -> None:
        """Stop all shards, check every `wait_seconds`, and kill those that do not stop in time.

        Raises:
            ClusterError: if the connection to the cluster is lost.
        """
        running = {number for number, shard in self.shards.items() if shard.node_id}
        self._frames.clear()
        for number in running:
            self.send(number, messages.Stop())
        self.flush()
        deadline = self.clock() + _STOP_SECONDS
        while running and self.clock() < deadline:
            for number, received in self.client.wait(wait_seconds):
                if isinstance(received, ShardEnded):
                    running.discard(number)
        for number in self.shards:
            self.client.cancel(number)

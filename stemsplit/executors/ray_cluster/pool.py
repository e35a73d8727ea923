"""Runs in the supervisor. The pool of a cluster: handles the messages and the end of shards.

It replaces `stemsplit.supervisor.pool`, which runs in each shard. The records of the batch stay
here: a shard asks this pool before each step that a crash must not lose, and the pool asks the
journal. A lost shard gets no more replies, so no track is published twice. What follows from lost
shards and faulty nodes is decided in `stemsplit.executors.ray_cluster.faults`.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.errors import ClusterError
from stemsplit.core.outcome import Reason
from stemsplit.core.text import counted
from stemsplit.executors.ray_cluster import faults, messages
from stemsplit.executors.ray_cluster.client_interface import ShardEnded
from stemsplit.executors.ray_cluster.faults import FaultDecision, LossDecision
from stemsplit.executors.ray_cluster.recorder_requests import answer_request
from stemsplit.executors.ray_cluster.remote_track_task import RemoteTrackQueue, RemoteTrackTask
from stemsplit.executors.ray_cluster.shard_scheduler import ShardScheduler
from stemsplit.storage.urls import is_remote
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
from stemsplit.supervisor.pool_interface import (
    Launched,
    LoopIterated,
    MemorySampled,
    MessageReceived,
    Noted,
    Retried,
    TrackEnded,
    Withdrawn,
    always_open,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from stemsplit.core.job import Job
    from stemsplit.executors.ray_cluster.client_interface import ClusterClient
    from stemsplit.executors.ray_cluster.shard_scheduler import TaskBuilder
    from stemsplit.executors.ray_cluster.shard_state import ShardState
    from stemsplit.executors.ray_cluster.sharding import ShardSize
    from stemsplit.supervisor.pool_interface import Gate, PoolEvent, TrackTask

_LOOP_SECONDS = 0.5
"""Maximum time that an iteration of the loop waits for messages."""

_SAMPLE_SECONDS = 0.5
"""Interval between two memory samples."""

_DONE = ExitDiagnosis(reason=Reason.DONE)


class ClusterPool:
    """A `stemsplit.supervisor.pool_interface.WorkerPool` on the nodes of a cluster.

    Args:
        client: access to the nodes.
        shard_size: resources of each shard.
        model_name: model that nodes need; empty if none.
        output: folder for all stems.
        builder: builds messages with the tracks of a shard.
        recover_track: completes or removes the files that a lost node has left behind; returns
            whether all stems of the track are published.
        gate: called before each assignment of a track.
        clock: monotonic seconds.

    Attributes:
        peak_memory_bytes: peak memory of all shards together; None before the first sample.
    """

    def __init__(
        self,
        client: ClusterClient,
        shard_size: ShardSize,
        *,
        model_name: str,
        output: Path,
        builder: TaskBuilder,
        recover_track: Callable[[Job], bool],
        gate: Gate = always_open,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store the injected dependencies; submit nothing yet."""
        self._client = client
        self._shard_size = shard_size
        self._output = output
        self._recover_track = recover_track
        self._clock = clock
        self._queue = RemoteTrackQueue(gate, shard_size.resources)
        self._scheduler = ShardScheduler(
            client=client,
            shard_size=shard_size,
            model_name=model_name,
            builder=builder,
            queue=self._queue,
            clock=clock,
        )
        self._shards = self._scheduler.shards
        self._tracks = 0
        self._losses: Counter[int] = Counter()
        self._moves: Counter[int] = Counter()
        self._faults: Counter[str] = Counter()
        self.peak_memory_bytes: int | None = None
        self._next_sample = 0.0
        self._last_iteration = clock()
        self._is_stopping = False

    def add(self, track_task: TrackTask) -> None:
        """Add a track at the end of the queue."""
        assert isinstance(track_task, RemoteTrackTask)  # noqa: S101 - see `make_task`
        self._tracks += 1
        track_task.number = self._tracks
        self._queue.append([track_task])

    def close(self) -> None:
        """Do nothing: the pool ends when its queue is empty."""

    def drain(self) -> None:
        """Assign no more tracks, and finish running ones. From any thread or signal handler."""
        self._scheduler.is_draining = True

    def stop(self) -> None:
        """Stop all shards now. From any thread or signal handler."""
        self._is_stopping = True

    def unstarted(self) -> list[TrackTask]:
        """Return the tracks that the gate has rejected and those in the queue."""
        return self._queue.unstarted()

    def rejected(self) -> list[TrackTask]:
        """Return the tracks that the gate has rejected."""
        return self._queue.rejected()

    def run(self) -> Generator[PoolEvent, None, None]:
        """Separate all tracks and yield events, until none is left or the pool is stopped.

        Raises:
            ClusterError: if the cluster is lost, or none of its nodes is usable.
        """
        try:
            while not self._is_stopping:
                self._scheduler.drain_shards()
                self._scheduler.submit_shards()
                for track_task, diagnosis in self._scheduler.assign_tracks():
                    yield TrackEnded.of(track_task, diagnosis)
                if self._scheduler.is_done:
                    return
                yield from self._scheduler.wait_for_nodes()
                for number, received in self._client.wait(_LOOP_SECONDS):
                    if isinstance(received, ShardEnded):
                        yield from self._on_shard_ended(number, received)
                    elif number in self._shards:
                        yield from self._on_frame(number, received)
                self._scheduler.flush()
                yield from self._sample_memory()
                yield from self._end_lost_shards()
                yield LoopIterated()
        finally:
            with contextlib.suppress(ClusterError):  # without a connection, the shards stop anyway
                self._scheduler.stop_shards(_LOOP_SECONDS)
            self._shards.clear()

    def _sample_memory(self) -> Iterator[MemorySampled]:
        shards = self._shards.values()
        total_bytes = sum(shard.total_bytes for shard in shards)
        if total_bytes and self._clock() >= self._next_sample:
            self._next_sample = self._clock() + _SAMPLE_SECONDS
            self.peak_memory_bytes = max(self.peak_memory_bytes or 0, total_bytes)
            trees = {source: size for shard in shards for source, size in shard.trees.items()}
            yield MemorySampled(total_bytes=total_bytes, trees=trees)

    def _on_frame(self, number: int, frame: bytes) -> Iterator[PoolEvent]:
        try:
            message = messages.decode_shard_message(frame)
        except msgspec.DecodeError:
            # Its further messages are not trustworthy; its tracks go to other shards.
            self._client.cancel(number)
            yield from self._on_shard_ended(number, ShardEnded(fault="it sent an invalid message"))
        else:
            yield from self._on_message(number, message)

    def _on_message(self, number: int, message: messages.ShardMessage) -> Iterator[PoolEvent]:
        shard = self._shards[number]
        shard.last_message_at = self._clock()
        match message:
            case messages.AttemptBegins() | messages.PublishBegins() | messages.PublishReverted():
                self._scheduler.send(number, answer_request(message, shard, self._output))
            case messages.MemorySampled(total_bytes=total_bytes, trees=trees):
                shard.record_memory(total_bytes, trees)
            case messages.Noted(text=text):
                yield Noted(text=f"{shard.name}: {text}")
            case messages.ShardStarted(node_id=node_id):
                self._scheduler.on_shard_started(shard, node_id)
            case messages.WantsWork(tracks=tracks):
                shard.wanted = tracks
            case messages.ShardRefused(message=text, remedy=remedy):
                self._scheduler.exclude_node(shard, f"{text} {remedy}".rstrip())
            case messages.ShardClosed(unstarted=unstarted, rejected=rejected):
                self._queue.reject(self._scheduler.release(shard, rejected))
                self._queue.requeue(self._scheduler.release(shard, unstarted))
            case messages.Heartbeat():
                pass
            case _:
                if message.track in shard.tracks:
                    yield from self._on_track_event(shard, shard.tracks[message.track], message)

    def _on_track_event(
        self, shard: ShardState, track_task: RemoteTrackTask, event: messages.TrackEvent
    ) -> Iterator[PoolEvent]:
        match event:
            case messages.Launched(number=number, resources=resources, ram_cap_bytes=cap):
                yield Launched(
                    track_task=track_task, number=number, resources=resources, ram_cap_bytes=cap
                )
            case messages.MessageReceived(message=message):
                yield MessageReceived(track_task=track_task, message=message)
            case messages.Withdrawn():
                shard.started.discard(track_task.number)
                self._recover_track(track_task.job)
                yield Withdrawn(track_task=track_task)
            case messages.Retried(attempt=attempt, resources=resources):
                shard.started.discard(track_task.number)
                attempt = msgspec.structs.replace(attempt, node=shard.name)
                yield Retried(track_task=track_task, attempt=attempt, resources=resources)
            case messages.TrackEnded():
                yield from self._on_track_ended(shard, track_task, event)

    def _on_track_ended(
        self, shard: ShardState, track_task: RemoteTrackTask, event: messages.TrackEnded
    ) -> Iterator[PoolEvent]:
        self._scheduler.release(shard, [track_task.number])
        attempts = tuple(
            msgspec.structs.replace(attempt, node=shard.name) for attempt in event.outcome.attempts
        )
        outcome = msgspec.structs.replace(event.outcome, job=track_task.job, attempts=attempts)
        if outcome.reason is Reason.DONE:
            self._faults.pop(shard.node_id, None)
        if outcome.reason is Reason.DONE or not self._should_move(shard, track_task, event):
            yield TrackEnded(track_task=track_task, outcome=outcome)
            return
        self._moves[track_task.number] += 1
        # Unreachable storage may be the fault of one file; other reasons concern all of them.
        if outcome.reason is not Reason.UNREACHABLE or self._count_fault(shard, outcome.message):
            self._scheduler.exclude_node(shard, f"{outcome.message} {outcome.remedy}".rstrip())
        if attempts:
            resources = self._shard_size.resources
            yield Retried(track_task=track_task, attempt=attempts[-1], resources=resources)
        self._queue.append([track_task])

    def _should_move(
        self, shard: ShardState, track_task: RemoteTrackTask, event: messages.TrackEnded
    ) -> bool:
        """Return whether a failed track is retried on another node, if there is one now."""
        can_move = not self._scheduler.is_draining and faults.may_move(
            event.outcome.reason,
            moves=self._moves[track_task.number],
            is_disk_shared=not is_remote(self._output),
            is_source_missing=event.is_source_missing and track_task.job.source_path.exists(),
        )
        return can_move and any(node.node_id != shard.node_id for node in self._client.nodes())

    def _end_lost_shards(self) -> Iterator[PoolEvent]:
        now = self._clock()
        suspended = faults.suspended_seconds(now - self._last_iteration - _LOOP_SECONDS)
        self._last_iteration = now
        for number, shard in list(self._shards.items()):
            shard.last_message_at += suspended
            if shard.node_id and faults.is_lost(now - shard.last_message_at):
                self._client.cancel(number)
                fault = f"no message for {faults.SILENCE_SECONDS:.0f} s"
                yield from self._on_shard_ended(number, ShardEnded(fault=fault))

    def _on_shard_ended(self, number: int, end: ShardEnded) -> Iterator[PoolEvent]:
        """Forget a shard; its unfinished tracks are retried in others."""
        shard = self._shards.pop(number, None)
        if shard is None:
            return
        if end.fault and not self._is_stopping and self._count_fault(shard, end.fault):
            why = f"its shards keep failing ({end.fault})."
            self._client.exclude(shard.node_id, why, shard.name)
        started, results = {*shard.started}, {**shard.results}
        next_up: list[RemoteTrackTask] = []
        last: list[RemoteTrackTask] = []
        for track_task in self._scheduler.release(shard, [*shard.tracks]):
            if track_task.number not in started:
                next_up.append(track_task)
                continue
            yield Withdrawn(track_task=track_task)
            if self._recover_track(track_task.job):
                result = results.get(track_task.number)
                warnings = () if result is None else result.warnings
                yield TrackEnded.of(track_task, _DONE, result, warnings=warnings)
                continue
            self._losses[track_task.number] += bool(end.fault)
            losses = self._losses[track_task.number]
            match faults.after_loss(losses):
                case LossDecision.RETRY_NEXT:
                    next_up.append(track_task)
                case LossDecision.RETRY_LAST:
                    last.append(track_task)
                case LossDecision.GIVE_UP:
                    yield TrackEnded.of(track_task, faults.node_lost(losses))
        self._queue.requeue(next_up)
        self._queue.append(last)
        if end.fault and shard.node_id and not self._is_stopping:
            requeued = counted(len(next_up) + len(last), "track")
            yield Noted(
                text=f"a shard on {shard.name} failed ({end.fault}): {requeued} requeued, "
                f"{len(started)} of them started"
            )

    def _count_fault(self, shard: ShardState, fault: str) -> bool:
        """Count a fault, and return whether it excludes the node of a shard.

        Raises:
            ClusterError: if no node could start a shard, several times in a row.
        """
        self._faults[shard.node_id] += 1
        decision = faults.after_fault(self._faults[shard.node_id], has_node=bool(shard.node_id))
        if decision is FaultDecision.END_BATCH:
            raise faults.no_shard_started(fault)
        if decision is FaultDecision.EXCLUDE_NODE:
            self._faults[shard.node_id] = 0
        return decision is FaultDecision.EXCLUDE_NODE

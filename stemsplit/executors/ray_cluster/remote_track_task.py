"""Runs in the supervisor. The tracks of a batch on a cluster, and the queue in which they wait."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from stemsplit.executors.ray_cluster.sharding import MAX_TRACKS, track_weight
from stemsplit.supervisor.pool_interface import GateDecision

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stemsplit.core.job import Job
    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Finished, Task
    from stemsplit.executors.track_task import AttemptRecorder
    from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
    from stemsplit.supervisor.pool_interface import FinalisedAttempt, Gate, TrackTask


@dataclass(slots=True, kw_only=True, eq=False)
class RemoteTrackTask:
    """A track that a node separates; see `stemsplit.supervisor.pool_interface.TrackTask`.

    Attributes:
        job: the track, with paths of this machine.
        audio_seconds: length of the audio where memory grows with it, else 0.
        likely_seconds: length of the audio, estimated where it is unknown.
        recorder: called before each step.
        number: number of the track in the batch.
    """

    job: Job
    audio_seconds: float
    likely_seconds: float
    recorder: AttemptRecorder
    number: int = 0

    def begin_attempt(self, number: int, resources: Resources) -> Task:
        """Happens on the node."""
        raise NotImplementedError

    def finalise(
        self, task: Task, diagnosis: ExitDiagnosis, result: Finished | None
    ) -> FinalisedAttempt:
        """Happens on the node."""
        raise NotImplementedError


class RemoteTrackQueue:
    """Tracks that wait for a shard, first come first served.

    Args:
        gate: called before each assignment of a track.
        resources: resources of a first attempt, for the gate.

    Attributes:
        weight: weight of all waiting tracks.
    """

    def __init__(self, gate: Gate, resources: Resources) -> None:
        """Start empty."""
        self.weight = 0.0
        self._gate = gate
        self._resources = resources
        self._waiting: deque[RemoteTrackTask] = deque()
        self._assigned: dict[int, RemoteTrackTask] = {}
        self._rejected: list[RemoteTrackTask] = []

    def __len__(self) -> int:
        """Return the number of waiting tracks."""
        return len(self._waiting)

    def append(self, track_tasks: Iterable[RemoteTrackTask]) -> None:
        """Add tracks at the end."""
        for track_task in track_tasks:
            self._waiting.append(track_task)
            self.weight += track_weight(track_task.likely_seconds)

    def requeue(self, track_tasks: Iterable[RemoteTrackTask]) -> None:
        """Add tracks at the head, in the given order."""
        for track_task in reversed([*track_tasks]):
            self._waiting.appendleft(track_task)
            self.weight += track_weight(track_task.likely_seconds)

    def reject(self, track_tasks: Iterable[RemoteTrackTask]) -> None:
        """Add tracks to those that the gate has rejected."""
        self._rejected += track_tasks

    def pop(
        self, count: int
    ) -> tuple[list[RemoteTrackTask], list[tuple[RemoteTrackTask, ExitDiagnosis]]]:
        """Take up to `count` tracks from the head, as far as the gate permits.

        Returns:
            the tracks to assign, and the tracks that the gate has ended without a start.
        """
        popped: list[RemoteTrackTask] = []
        ended: list[tuple[RemoteTrackTask, ExitDiagnosis]] = []
        while self._waiting and len(popped) < count:
            decision = self._gate(self._waiting[0], self._resources, self._assigned.values())
            if decision is GateDecision.WAIT:
                break
            track_task = self._waiting.popleft()
            self.weight -= track_weight(track_task.likely_seconds)
            if decision is GateDecision.GO:
                self._assigned[track_task.number] = track_task
                popped.append(track_task)
            elif decision is GateDecision.NEVER:
                self._rejected.append(track_task)
            else:
                ended.append((track_task, decision))
        return popped, ended

    def release(self, number: int) -> None:
        """Remove a track from those that are assigned to a shard."""
        del self._assigned[number]

    def next_weights(self) -> list[float]:
        """Return the weights of the first tracks, at most as many as a shard takes."""
        return [track_weight(task.likely_seconds) for task in islice(self._waiting, MAX_TRACKS)]

    def unstarted(self) -> list[TrackTask]:
        """Return the rejected and the waiting tracks."""
        return [*self._rejected, *self._waiting]

    def rejected(self) -> list[TrackTask]:
        """Return the tracks that the gate has rejected."""
        return [*self._rejected]

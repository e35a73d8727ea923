"""Runs in the supervisor. The interface of a pool: its tasks, its gate, and its events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from stemsplit.core.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Mapping
    from pathlib import Path

    from stemsplit.core.job import Job
    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Finished, Message, Task
    from stemsplit.core.outcome import Attempt, TrackWarning
    from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalisedAttempt:
    """An attempt whose files are published or removed.

    Attributes:
        diagnosis: the child's diagnosis, or another one if its result could not be published.
        log_file: path of its log; None if it was not kept.
    """

    diagnosis: ExitDiagnosis
    log_file: Path | None = None


class TrackTask(Protocol):
    """One track and its files through all attempts."""

    @property
    def job(self) -> Job:
        """Source and destinations."""

    @property
    def audio_seconds(self) -> float:
        """Duration to separate, which matters if memory depends on it; infinity if unknown."""

    def begin_attempt(self, number: int, resources: Resources) -> Task:
        """Prepare an attempt; raises `StemsplitError` if that fails."""

    def finalise(
        self, task: Task, diagnosis: ExitDiagnosis, result: Finished | None
    ) -> FinalisedAttempt:
        """Publish the files of an attempt, or remove them if there is no result."""


class WorkerPool(Protocol):
    """Runs tracks, on this machine (`stemsplit.supervisor.pool.Pool`) or on others."""

    @property
    def peak_memory_bytes(self) -> int | None:
        """Peak memory of all processes together; None if never sampled."""

    def add(self, track_task: TrackTask, /) -> None:
        """Append a track to the queue."""

    def close(self) -> None:
        """Declare that no more tracks will be added."""

    def drain(self) -> None:
        """Start no more tracks, and finish the running ones."""

    def stop(self) -> None:
        """Terminate all children now."""

    def unstarted(self) -> list[TrackTask]:
        """Return the queued tracks, and those that the gate has rejected."""

    def rejected(self) -> list[TrackTask]:
        """Return the tracks that the gate has rejected."""

    def run(self) -> Generator[PoolEvent, None, None]:
        """Run all tracks and yield events."""


class GateDecision(Enum):
    """A gate's decision about a track.

    GO: it may start. WAIT: no track may start now. NEVER: this track is rejected, others may start.
    """

    GO = auto()
    WAIT = auto()
    NEVER = auto()


class Gate(Protocol):
    """Called before each start; decides for reasons other than memory."""

    def __call__(
        self, track_task: TrackTask, resources: Resources, running: Collection[TrackTask], /
    ) -> GateDecision | ExitDiagnosis:
        """Return a decision; a diagnosis ends the track without a start.

        Args:
            track_task: the first track in the queue.
            resources: resources of its next attempt.
            running: the running tracks.
        """


def always_open(
    _track_task: TrackTask, _resources: Resources, _running: Collection[TrackTask]
) -> GateDecision:
    """Let every track start."""
    return GateDecision.GO


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A child was started, with this memory cap."""

    track_task: TrackTask
    number: int
    resources: Resources
    ram_cap_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived:
    """A child has sent a message."""

    track_task: TrackTask
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """An attempt has failed, and the track will be retried with `resources`."""

    track_task: TrackTask
    attempt: Attempt
    resources: Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackEnded:
    """A track is done, has failed or was cancelled."""

    track_task: TrackTask
    outcome: Outcome

    @classmethod
    def of(
        cls,
        track_task: TrackTask,
        diagnosis: ExitDiagnosis,
        result: Finished | None = None,
        *,
        warnings: Iterable[TrackWarning] = (),
        attempts: Iterable[Attempt] = (),
    ) -> TrackEnded:
        """Return the event for a track that has ended with `diagnosis`."""
        outcome = Outcome(
            job=track_task.job,
            reason=diagnosis.reason,
            message=diagnosis.message,
            remedy=diagnosis.remedy,
            warnings=tuple(warnings),
            stems=() if result is None else result.stems,
            audio_seconds=0.0 if result is None else result.audio_seconds,
            attempts=tuple(attempts),
        )
        return cls(track_task=track_task, outcome=outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A message for the user about the whole batch."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """A child was terminated before it began to separate; its track is back in the queue."""

    track_task: TrackTask


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopIterated:
    """The loop has completed an iteration, at least twice a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySampled:
    """Memory was sampled exactly.

    Attributes:
        total_bytes: memory of all processes together.
        trees: memory of each child with its descendants, by the source of its track.
    """

    total_bytes: int
    trees: Mapping[bytes, int]


PoolEvent = (
    LoopIterated
    | Withdrawn
    | MemorySampled
    | Launched
    | MessageReceived
    | Retried
    | TrackEnded
    | Noted
)

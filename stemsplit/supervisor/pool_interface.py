"""Runs in the supervisor. What a pool is given, and what it tells: the words at its border."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping
    from pathlib import Path

    from stemsplit.core.job import Job
    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Finished, Message, Task
    from stemsplit.core.outcome import Attempt, Outcome
    from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalisedAttempt:
    """What became of an attempt's files.

    Attributes:
        diagnosis: as it was, or another one if a result could not be published.
        log_file: where its log is kept, None if it is not.
    """

    diagnosis: ExitDiagnosis
    log_file: Path | None = None


class TrackTask(Protocol):
    """One track, as the pool sees it."""

    @property
    def job(self) -> Job:
        """What is wanted."""

    @property
    def audio_seconds(self) -> float:
        """How much audio is separated, where memory depends on it; infinity if nobody knows."""

    def begin(self, number: int, resources: Resources) -> Task:
        """Prepare an attempt; raises `StemsplitError` if that cannot be done."""

    def conclude(
        self, task: Task, diagnosis: ExitDiagnosis, result: Finished | None
    ) -> FinalisedAttempt:
        """Take over what an attempt has left: publish it, or remove it."""


class WorkerPool(Protocol):
    """Does the work, on this machine or on others (`stemsplit.supervisor.pool.Pool`)."""

    @property
    def peak_memory_bytes(self) -> int | None:
        """The largest memory of all processes together so far, None if it was never read."""

    def add(self, track_task: TrackTask, /) -> None:
        """Put a track at the end of the line."""

    def close(self) -> None:
        """Accept that nothing more is added."""

    def drain(self) -> None:
        """Start nothing more, and let what works finish."""

    def stop(self) -> None:
        """End every child now."""

    def unstarted(self) -> list[TrackTask]:
        """List the tracks that are still in line, and those that the gate has turned away."""

    def turned_away(self) -> list[TrackTask]:
        """List the tracks that the gate has turned away."""

    def run(self) -> Generator[PoolEvent, None, None]:
        """Do the work and yield what happens."""


class GateDecision(Enum):
    """Whether a track may be started now, as far as others than memory are concerned.

    GO: it may. WAIT: nothing may for the moment. NEVER: this one may not any more, others may.
    """

    GO = auto()
    WAIT = auto()
    NEVER = auto()


class Gate(Protocol):
    """Is asked before each start."""

    def __call__(
        self, track_task: TrackTask, resources: Resources, running: Collection[TrackTask], /
    ) -> GateDecision | ExitDiagnosis:
        """Decide about a track; a verdict settles it without a start.

        Args:
            track_task: the first in line.
            resources: how it would go about it.
            running: those that are being separated.
        """


def always_open(
    _track_task: TrackTask, _resources: Resources, _running: Collection[TrackTask]
) -> GateDecision:
    """Let every track start."""
    return GateDecision.GO


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A child was started, which may take so much memory."""

    track_task: TrackTask
    number: int
    resources: Resources
    ram_cap_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived:
    """A child said something."""

    track_task: TrackTask
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """An attempt failed, and another one will follow."""

    track_task: TrackTask
    attempt: Attempt
    resources: Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackEnded:
    """A track has come to its end, good or bad."""

    track_task: TrackTask
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something that a person should know about the whole."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """A child was ended before it had begun to separate; its track is back in line."""

    track_task: TrackTask


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopIterated:
    """The loop has gone round once more, as it does twice a second at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySampled:
    """Memory was read exactly.

    Attributes:
        total_bytes: of all processes together.
        trees: of each child with all that it started, by its track's source.
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

"""Runs in the supervisor. The protocols of executors, and the request that an executor receives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from stemsplit.core.job import Job
    from stemsplit.core.limits import Limits
    from stemsplit.core.settings import Settings
    from stemsplit.executors.track_task import AttemptRecorder
    from stemsplit.supervisor.launcher import StartMethod
    from stemsplit.supervisor.pool_interface import Gate, TrackTask, WorkerPool
    from stemsplit.supervisor.pool_plan import PoolPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRequest:
    """What an executor needs to know about a batch.

    Attributes:
        settings: how tracks are separated.
        limits: memory, time and retries.
        jobs: number of children that run at once, at least 1; None lets the executor choose.
        output: the output folder, which may be remote.
        start_method: how children are started.
        deadline: in seconds since 1970; tracks that cannot finish by then are not started. None for
            no deadline.
        cluster: the Ray cluster to use: `local`, `auto` or an address; None for this machine.
        path_map: folders with a different path on the nodes of the cluster, as `LOCAL=REMOTE`.
    """

    settings: Settings
    limits: Limits
    jobs: int | None
    output: Path
    start_method: StartMethod
    deadline: float | None = None
    cluster: str | None = None
    path_map: tuple[str, ...] = ()

    @property
    def preloaded(self) -> bool:
        """Whether children share the libraries of a fork server."""
        return self.start_method == "forkserver"


class ExecutorPool(Protocol):
    """A pool and the tasks that it accepts. A context manager around the use of the pool."""

    def __enter__(self) -> Self:
        """Start what the pool needs."""

    def __exit__(self, *exception: object) -> None:
        """Stop it; the pool's generator must be closed by then."""

    @property
    def pool(self) -> WorkerPool:
        """The pool that runs the tasks."""

    def make_task(
        self, job: Job, output: Path, recorder: AttemptRecorder, audio_seconds: float = 0.0, /
    ) -> TrackTask:
        """Return a task for a track, for `pool.add`.

        Args:
            job: the track.
            output: the output folder.
            recorder: called before each step.
            audio_seconds: length of the audio where memory grows with it, else 0.
        """


class Executor(Protocol):
    """Runs a batch somewhere. A context manager around the whole batch."""

    def __enter__(self) -> Self:
        """Connect, and make the plan."""

    def __exit__(self, *exception: object) -> None:
        """Disconnect."""

    @property
    def plan(self) -> PoolPlan:
        """Concurrency, memory budget and limits of the batch."""

    def open_pool(self, gate: Gate, /) -> ExecutorPool:
        """Return a pool, which is not started yet.

        Args:
            gate: called before each start of a track.
        """

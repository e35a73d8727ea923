"""Runs in the supervisor. Where a batch is done: on this machine, or elsewhere."""

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
    """What an executor must know of a batch.

    Attributes:
        settings: how tracks are separated.
        limits: memory, time and retries.
        jobs: number of children that run at once, at least 1; None lets the executor choose.
        output: the output folder, which may be remote.
        start_method: how children are started.
        deadline: in seconds since 1970; no track starts that cannot finish by then. None for none.
        cluster: the Ray cluster to use: `local`, `auto` or an address; None for this machine.
        path_map: folders that the cluster's nodes see at another path, as `HERE=THERE`.
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
    """What does the work of a batch; a context manager around it."""

    def __enter__(self) -> Self:
        """Get ready."""

    def __exit__(self, *exception: object) -> None:
        """Go home; the pool's generator must be closed by then."""

    @property
    def pool(self) -> WorkerPool:
        """What tracks are given to."""

    def track_task(
        self, job: Job, output: Path, recorder: AttemptRecorder, audio_seconds: float = 0.0, /
    ) -> TrackTask:
        """Make the work for a track; how long it is matters where memory grows with that."""


class Executor(Protocol):
    """Where a batch is done; a context manager around all of it."""

    def __enter__(self) -> Self:
        """Find out what there is."""

    def __exit__(self, *exception: object) -> None:
        """Leave it."""

    @property
    def plan(self) -> PoolPlan:
        """How the work is gone about."""

    def executor_pool(self, gate: Gate, /) -> ExecutorPool:
        """Give what does it.

        Args:
            gate: is asked before each start.
        """

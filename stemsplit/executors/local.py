"""Runs in the supervisor. Where tracks are worked on: a pool with all that it needs.

Turns settings and limits into a plan for this machine, starts the launcher, and gives each track
its files: a hidden work folder, which is published or removed, and a log, which is kept if it tells
something. What a batch, or a program's pool of futures, adds to it is which tracks there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.executors.pool_planning import plan_pool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Self

    from stemsplit.core.job import Job
    from stemsplit.core.settings import Settings
    from stemsplit.executors.track_task import AttemptRecorder
    from stemsplit.journal.records import PastAttempt
    from stemsplit.supervisor.launcher import StartMethod
    from stemsplit.supervisor.pool_interface import Gate
    from stemsplit.supervisor.pool_plan import PoolPlan
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.job import Job
from stemsplit.core.settings import Settings
from stemsplit.executors.base import ExecutionRequest
from stemsplit.executors.track_task import AttemptRecorder, LocalTrackTask
from stemsplit.supervisor.launcher import Launcher
from stemsplit.supervisor.pool import Pool
from stemsplit.supervisor.pool_interface import always_open
from stemsplit.supervisor.pool_plan import PoolPlan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Self

    from stemsplit.supervisor.launcher import StartMethod
    from stemsplit.supervisor.pool_interface import Gate


def preload_of(settings: Settings) -> tuple[str, ...]:
    """Give the modules that a fork server imports for children who work so."""
    engine = settings.loader.partition(":")[0]
    return ("stemsplit.child.main", *(("stemsplit.audio.transforms", engine) if engine else ()))


class LocalPool:
    """A pool on this machine. A context manager around the work.

    Args:
        settings: how tracks are separated.
        plan: how the pool goes about it (`plan_pool`).
        model_folder: the verified weights; None where nothing is separated.
        start_method: how children are started; the one that the plan was made for.
        gate: is asked before each start.
        storage: modules that remote files need, for the fork server to import.

    Raises:
        UsageError: in a child, where the program lacks the guard of its main module.
    """

    def __init__(
        self,
        settings: Settings,
        plan: PoolPlan,
        *,
        model_folder: Path | None,
        start_method: StartMethod,
        gate: Gate = always_open,
        storage: Iterable[str] = (),
    ) -> None:
        """Start nothing yet."""
        self._model_folder = model_folder
        preload = (*preload_of(settings), *storage)
        self._launcher = Launcher(preload, start_method=start_method)
        self.plan = plan
        self._settings = msgspec.structs.replace(
            settings, threads=plan.concurrency.resources.threads
        )
        self.pool = Pool(self._launcher, self.plan, gate=gate)

    def __enter__(self) -> Self:
        """Start the launcher."""
        self._launcher.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        """End the launcher; the pool's generator must be closed by then."""
        self._launcher.__exit__(*exception)

    def track_task(
        self, job: Job, output: Path, recorder: AttemptRecorder, audio_seconds: float = 0.0
    ) -> LocalTrackTask:
        """Make the work for a track; how long it is matters where memory grows with that."""
        return LocalTrackTask(
            job,
            self._settings,
            nice=self.plan.limits.nice,
            model_folder=self._model_folder,
            scratch=self._launcher.scratch,
            output=output,
            recorder=recorder,
            audio_seconds=audio_seconds,
        )


class LocalExecutor:
    """This machine.

    Args:
        request: of the batch.
        model_folder: the verified weights; None where nothing is separated.
        storage: modules that remote files need.
        tracks: how many there are to do.
        past: finished attempts of earlier runs, to learn from.

    Raises:
        InsufficientMemoryError: if not even one track fits.
    """

    def __init__(
        self,
        request: ExecutionRequest,
        *,
        model_folder: Path | None,
        storage: frozenset[str],
        tracks: int,
        past: Iterable[PastAttempt],
    ) -> None:
        """Make the plan; start nothing."""
        self._request = request
        self._model_folder = model_folder
        self._storage = storage
        self.plan = plan_pool(
            request.settings,
            request.limits,
            jobs=request.jobs,
            tracks=tracks,
            preloaded=request.preloaded,
            past=past,
        )

    def __enter__(self) -> Self:
        """Find nothing more out."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave nothing."""

    def executor_pool(self, gate: Gate) -> LocalPool:
        """See `Site.executor_pool`."""
        return LocalPool(
            self._request.settings,
            self.plan,
            model_folder=self._model_folder,
            start_method=self._request.start_method,
            gate=gate,
            storage=self._storage,
        )

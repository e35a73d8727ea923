"""Runs in the supervisor. Runs the tracks of a batch, or of a shard, on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stemsplit.executors.plan_local_pool import plan_pool
from stemsplit.executors.track_task import LocalTrackTask
from stemsplit.supervisor.launcher import Launcher
from stemsplit.supervisor.pool import Pool
from stemsplit.supervisor.pool_interface import always_open

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Self

    from stemsplit.core.job import Job
    from stemsplit.core.settings import Settings
    from stemsplit.executors.base import ExecutionRequest
    from stemsplit.executors.track_task import AttemptRecorder
    from stemsplit.journal.run_records import AttemptMeasurement
    from stemsplit.supervisor.launcher import StartMethod
    from stemsplit.supervisor.pool_interface import Gate
    from stemsplit.supervisor.pool_plan import PoolPlan


def preload_modules(settings: Settings) -> tuple[str, ...]:
    """Return the modules that a fork server imports for the children of a batch."""
    engine = settings.loader.partition(":")[0]
    return ("stemsplit.child.main", *(("stemsplit.audio.fft", engine) if engine else ()))


class LocalPool:
    """A pool on this machine with its launcher; see `stemsplit.executors.base.ExecutorPool`.

    Args:
        settings: how tracks are separated.
        plan: concurrency, memory budget and limits (`plan_pool`).
        model_folder: the verified weights; None for a conversion.
        start_method: how children are started, as assumed by the plan.
        gate: called before each start of a track.
        storage: modules for remote files, for the fork server to import.

    Raises:
        UsageError: in a child, if the main module of the program lacks its guard.
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
        """Create the launcher and the pool; start nothing yet."""
        self._model_folder = model_folder
        preload = (*preload_modules(settings), *storage)
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
        """Stop the launcher; the pool's generator must be closed by then."""
        self._launcher.__exit__(*exception)

    def make_task(
        self, job: Job, output: Path, recorder: AttemptRecorder, audio_seconds: float = 0.0
    ) -> LocalTrackTask:
        """See `stemsplit.executors.base.ExecutorPool.make_task`."""
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
    """Runs tracks on this machine; see `stemsplit.executors.base.Executor`.

    Args:
        request: the batch.
        model_folder: the verified weights; None for a conversion.
        storage: modules for remote files.
        tracks: number of tracks.
        past: finished attempts of earlier runs, which improve the forecast.

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
        past: Iterable[AttemptMeasurement],
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
        """Do nothing: the plan is made."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: the pool stops what it has started."""

    def open_pool(self, gate: Gate) -> LocalPool:
        """See `stemsplit.executors.base.Executor.open_pool`."""
        return LocalPool(
            self._request.settings,
            self.plan,
            model_folder=self._model_folder,
            start_method=self._request.start_method,
            gate=gate,
            storage=self._storage,
        )

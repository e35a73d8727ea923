"""Runs in the supervisor. A pool of futures, similar to `concurrent.futures`.

    with StemPool(max_ram="4GiB") as pool:
        futures = [pool.submit(path, "stems") for path in paths]
        for future in as_completed(futures):
            print(future.result().stems)

The loop of the pool runs in its own thread, which starts with the first track.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.api.stem_future import StemFuture, TrackError
from stemsplit.batch.estimates import known_audio_seconds
from stemsplit.batch.planning import namer_for, template_for
from stemsplit.core.errors import UsageError
from stemsplit.core.limits import Limits
from stemsplit.core.outcome import Reason
from stemsplit.core.probe import Tags
from stemsplit.core.settings import Settings
from stemsplit.core.text import quoted
from stemsplit.executors.local import LocalPool
from stemsplit.executors.plan_local_pool import plan_pool, start_method_of
from stemsplit.executors.track_task import LocalTrackTask, UnrecordedAttempts
from stemsplit.library.naming import path_key
from stemsplit.library.probe import probe_file
from stemsplit.library.tracks import Track
from stemsplit.models.check_settings import check_settings
from stemsplit.models.weight_forms import ensure_weights
from stemsplit.storage.urls import local_path
from stemsplit.supervisor.pool_interface import Launched, MessageReceived, TrackEnded
from stemsplit.supervisor.session import refuse_inside_child

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from stemsplit.core.job import Job
    from stemsplit.core.messages import Message
    from stemsplit.core.outcome import Outcome
    from stemsplit.supervisor.launcher import StartMethod
    from stemsplit.supervisor.pool_interface import PoolEvent


_logger = logging.getLogger(__name__)


class StemPool:
    """Separates tracks, each in its own child process.

    Args:
        settings: model, format and so on.
        jobs: number of children at once; None balances processors against memory.
        limits: limits of memory, time and retries. The next parameters are ignored then.
        max_ram, max_ram_per_file, min_free: sizes such as `4GiB`, or percentages such as `60%`.
        timeout: a duration such as `20m`, or a multiple of the expected time such as `4x`.
        stall_timeout: longest time without progress, a duration.
        retries: retries of a track for each kind of failure.
        overwrite: whether to replace existing stems; otherwise `submit` raises for such a track.
        start_method: `forkserver` or `spawn`; None for the better one on this system.
        on_message: called in the pool's thread with each message of a child, such as its progress
            (`stemsplit.core.messages`).

    Raises:
        UsageError: if a value is invalid; and in a child, if the program's main module lacks its
            `__main__` guard.
    """

    def __init__(  # noqa: PLR0913 - one parameter per setting
        self,
        settings: Settings | None = None,
        *,
        jobs: int | None = None,
        limits: Limits | None = None,
        max_ram: str | float | None = None,
        max_ram_per_file: str | float | None = None,
        min_free: str | float | None = None,
        timeout: str | float | None = None,
        stall_timeout: str | float | None = None,
        retries: int = 2,
        overwrite: bool = False,
        start_method: StartMethod | None = None,
        on_message: Callable[[StemFuture, Message], None] = lambda _future, _message: None,
    ) -> None:
        """Check the arguments; start nothing yet."""
        refuse_inside_child()
        self._pid = os.getpid()
        self._settings = check_settings(settings or Settings(), jobs=jobs)
        self._template = template_for(self._settings)
        self._jobs = jobs
        self._limits = limits or Limits.parse(
            max_ram=max_ram,
            max_ram_per_file=max_ram_per_file,
            min_free=min_free,
            timeout=timeout,
            stall_timeout=stall_timeout,
            retries=retries,
        )
        self._overwrite = overwrite
        self._start_method = start_method
        self._on_message = on_message
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._local_pool: LocalPool | None = None
        self._waiting: list[tuple[Job, Path, float, StemFuture]] = []
        self._futures: dict[int, tuple[LocalTrackTask, StemFuture]] = {}
        self._tasks: dict[StemFuture, LocalTrackTask] = {}
        self._destinations: set[str] = set()
        self._is_shut_down = False
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_rest: object) -> None:
        """Wait for all tracks; after an exception, cancel them first."""
        self.shutdown(cancel_futures=error_type is not None)

    def submit(self, source: str | os.PathLike[str], output: str | os.PathLike[str]) -> StemFuture:
        """Queue a track.

        Args:
            source: an audio file.
            output: folder in which the track's stems get a subfolder.

        Raises:
            UsageError: if the stems exist, or another track is written to the same folder; and in a
                fork of the process that created the pool.
            RuntimeError: if the pool is shut down.
        """
        if self._pid != os.getpid():  # a fork lacks the pool's thread
            raise UsageError(
                f"This pool belongs to process {self._pid}; this process is a fork of it.",
                "Create a StemPool after the fork, or submit tracks in the original process.",
            )
        path = local_path(source, "StemPool")
        folder = local_path(output, "StemPool").absolute()
        namer = namer_for(folder, self._template, self._settings)
        job = namer.job(Track(path=path, folder=Path()), Tags())
        if not self._overwrite and any(file.exists() for file in job.paths.values()):
            raise UsageError(
                f"{quoted(job.destination)} already holds stems.",
                "Choose another folder, or create the pool with overwrite=True.",
            )
        seconds = self._seconds(path)
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot submit a track: the pool is shut down")
            if self._error is not None:
                raise self._error
            destination = path_key(job.destination_path)
            if destination in self._destinations:
                raise UsageError(
                    "Another track in this pool is already being written to "
                    f"{quoted(job.destination)}.",
                    "Choose another folder for one of them.",
                )
            self._destinations.add(destination)
            future = StemFuture(path, self._withdraw)
            if self._local_pool is None:
                self._waiting.append((job, folder, seconds, future))
            else:
                self._add(self._local_pool, job, folder, seconds, future)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stemsplit", daemon=True)
                self._thread.start()
                # Without `shutdown`, the program waits at its exit, as with `concurrent.futures`.
                atexit.register(self.shutdown)
        return future

    def _seconds(self, path: Path) -> float:
        """Return the seconds of audio if memory grows with them, otherwise 0."""
        if not self._settings.mwf or not path.is_file():
            return 0.0
        return known_audio_seconds(probe_file(path, path.stat()), self._settings)

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """Accept no further tracks.

        Args:
            wait: whether to wait until all tracks and processes have ended.
            cancel_futures: whether to cancel all queued and running tracks.
        """
        if self._pid != os.getpid():
            return  # in a fork: the tracks belong to the original process
        with self._lock:
            self._is_shut_down = True
            futures = [*(future for *_, future in self._waiting), *self._tasks]
            if self._local_pool is not None:
                self._local_pool.pool.close()
        if cancel_futures:
            for future in futures:
                future.cancel()
        thread = self._thread
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join()
            atexit.unregister(self.shutdown)

    def _withdraw(self, future: StemFuture) -> None:
        with self._lock:
            track_task = self._tasks.get(future)
            if track_task is not None and self._local_pool is not None:
                self._local_pool.pool.cancel(track_task)

    def _add(
        self, local_pool: LocalPool, job: Job, output: Path, seconds: float, future: StemFuture
    ) -> None:
        recorder = UnrecordedAttempts(overwrite=self._overwrite)
        track_task = local_pool.make_task(job, output, recorder, seconds)
        self._futures[id(track_task)] = (track_task, future)
        self._tasks[future] = track_task
        local_pool.pool.add(track_task)

    def _run(self) -> None:
        try:
            start_method = start_method_of(self._settings, self._start_method)
            plan = plan_pool(
                self._settings,
                self._limits,
                jobs=self._jobs,
                tracks=None,
                preloaded=start_method == "forkserver",
            )
            local_pool = LocalPool(
                self._settings,
                plan,
                model_folder=ensure_weights(self._settings),
                start_method=start_method,
            )
            with local_pool, contextlib.closing(local_pool.pool.run()) as events:
                self._on_start(local_pool)
                for event in events:
                    self._on_event(event)
        except BaseException as error:  # noqa: BLE001 - every waiter gets the error
            self._fail_all(error)

    def _on_start(self, local_pool: LocalPool) -> None:
        with self._lock:
            self._local_pool = local_pool
            for job, output, seconds, future in self._waiting:
                self._add(local_pool, job, output, seconds, future)
                if future.cancelled():
                    local_pool.pool.cancel(self._tasks[future])
            self._waiting.clear()
            if self._is_shut_down:
                local_pool.pool.close()

    def _on_event(self, event: PoolEvent) -> None:
        if not isinstance(event, Launched | MessageReceived | TrackEnded):
            return
        _, future = self._futures[id(event.track_task)]
        match event:
            case Launched():
                future.begin()
            case MessageReceived(message=message):
                try:
                    self._on_message(future, message)
                except Exception:
                    _logger.exception("on_message failed for %s", future.source)
            case TrackEnded(outcome=outcome):
                self._finish(future, outcome)

    def _finish(self, future: StemFuture, outcome: Outcome) -> None:
        with self._lock:
            track_task = self._tasks.pop(future)
            del self._futures[id(track_task)]
            self._destinations.discard(path_key(outcome.job.destination_path))
        if not future.begin():
            return
        if outcome.reason is Reason.DONE:
            future.set_result(outcome)
        elif outcome.reason is Reason.CANCELLED:
            future.set_exception(CancelledError())
        else:
            future.set_exception(TrackError(outcome))

    def _fail_all(self, error: BaseException) -> None:
        with self._lock:
            self._error = error
            left = [*(future for *_, future in self._waiting), *self._tasks]
            self._waiting.clear()
        for future in left:
            if future.begin():
                future.set_exception(error)

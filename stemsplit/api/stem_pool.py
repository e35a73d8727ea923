"""Runs in the supervisor. A pool for programs, in the manner of `concurrent.futures`.

    with StemPool(max_ram="4GiB") as pool:
        futures = [pool.submit(path, "stems") for path in paths]
        for future in as_completed(futures):
            print(future.result().stems)

The pool's loop runs on a thread of its own, which starts with the first track.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.batch.planning import namer_of, template_of, whole_seconds
from stemsplit.core.errors import ExitCode, StemsplitError, UsageError
from stemsplit.core.limits import Limits
from stemsplit.core.outcome import Reason
from stemsplit.core.probe import Tags
from stemsplit.core.settings import Settings
from stemsplit.core.text import quoted
from stemsplit.executors.local import LocalPool
from stemsplit.executors.pool_planning import plan_pool, start_method_of
from stemsplit.executors.track_task import LocalTrackTask, UnrecordedAttempts
from stemsplit.library.naming import same_place
from stemsplit.library.probe import probe
from stemsplit.library.scan import Track
from stemsplit.models.check_settings import checked
from stemsplit.models.forms import weights_of
from stemsplit.storage.remote import local_path
from stemsplit.supervisor.pool_interface import Launched, MessageReceived, TrackEnded
from stemsplit.supervisor.session import refuse_inside_a_child

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from stemsplit.core.job import Job
    from stemsplit.core.messages import Message
    from stemsplit.core.outcome import Outcome
    from stemsplit.supervisor.launcher import StartMethod
    from stemsplit.supervisor.pool import Pool
    from stemsplit.supervisor.pool_interface import PoolEvent


_logger = logging.getLogger(__name__)


class TrackError(StemsplitError):
    """A track could not be separated; `StemFuture.result` raises this.

    Attributes:
        outcome: why, with every attempt's story, exit code, peak memory and log.
    """

    exit_code = ExitCode.SOME_FAILED

    def __init__(self, outcome: Outcome) -> None:
        """Take message and remedy from the outcome; notes tell the last attempt's story."""
        super().__init__(f"{quoted(outcome.job.source)}: {outcome.message}", outcome.remedy)
        self.outcome = outcome
        last = outcome.last_attempt
        if last is not None and hasattr(self, "add_note"):  # Python 3.10 has no notes
            self.add_note("\n".join((f"Attempt {last.number} of this track:", *last.story)))
            for what, text in (("Traceback", last.traceback), ("Log", last.log_tail)):
                if text:
                    self.add_note(f"{what} of the child:\n{text.rstrip()}")

    def __reduce__(self) -> tuple[type[TrackError], tuple[Outcome]]:
        """Be pickled with the outcome, as where another process asked for the track."""
        return type(self), (self.outcome,)


class StemFuture(Future["Outcome"]):
    """What becomes of one track.

    `result` gives an `Outcome` whose reason is `done`, or raises `TrackError`. `cancel` also ends a
    track that is being separated, other than `concurrent.futures` does.
    """

    def __init__(self, source: Path, withdraw: Callable[[StemFuture], None]) -> None:
        """Belong to a pool, which `withdraw` takes the track from."""
        super().__init__()
        self.source = source
        self._withdraw = withdraw
        self._is_live: bool | None = None

    def begin(self) -> bool:
        """Count as running from now on; for the pool.

        Returns:
            False if it was cancelled in line. Whoever waits for it has then been told.
        """
        if self._is_live is None:
            self._is_live = self.set_running_or_notify_cancel()
        return self._is_live

    def cancel(self) -> bool:
        """Cancel it, also while it is being separated.

        One that is separated at this very moment may be done all the same; `cancelled` tells.

        Returns:
            False if it is done already.
        """
        if self.done() and not self.cancelled():
            return False
        super().cancel()
        self._withdraw(self)
        return True

    def cancelled(self) -> bool:
        """Tell whether it was cancelled, before or while it was separated."""
        if super().cancelled():
            return True
        return self.done() and isinstance(self.exception(), CancelledError)


class StemPool:
    """Separates tracks in child processes, each in one of its own.

    Args:
        settings: model, format and so on.
        jobs: how many children may run at once; None weighs processors against memory.
        limits: of memory, time and retries; or give those that matter by name, as below.
        max_ram, max_ram_per_file, min_free: sizes such as `4GiB`, or percentages such as `60%`.
        timeout: a duration such as `20m`, or a multiple of the expected time such as `4x`.
        stall_timeout: a duration.
        retries: how often a track is tried again for each kind of failure.
        overwrite: replace stems that are there; otherwise `submit` refuses the track.
        start_method: `forkserver` or `spawn`; the better one of this system if None.
        on_message: is told what a child says of a track (`stemsplit.core.messages`), on the pool's
            thread: its progress, for one.

    Raises:
        UsageError: for values that cannot be, and in a child, where the program lacks the guard of
            its main module.
    """

    def __init__(  # noqa: PLR0913 - each is a setting that a person names
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
        """Check everything; nothing is started yet."""
        refuse_inside_a_child()
        self._pid = os.getpid()
        self._settings = checked(settings or Settings(), jobs=jobs)
        self._template = template_of(self._settings)
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
        self._pool: Pool | None = None
        self._workshop: LocalPool | None = None
        self._early: list[tuple[Job, Path, float, StemFuture]] = []
        self._futures: dict[int, tuple[LocalTrackTask, StemFuture]] = {}
        self._work_of: dict[StemFuture, LocalTrackTask] = {}
        self._destinations: set[str] = set()
        self._shut = False
        self._broken: BaseException | None = None

    def __enter__(self) -> Self:
        """Give the pool."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        """Wait for all tracks; where something was raised, cancel them first."""
        self.shutdown(cancel_futures=kind is not None)

    def submit(self, source: str | os.PathLike[str], output: str | os.PathLike[str]) -> StemFuture:
        """Put a track in line.

        Args:
            source: an audio file.
            output: the folder below which the track's stems get a folder of their own.

        Raises:
            UsageError: if its stems are there already, or another track's would be, and in a copy
                of the process that made the pool.
            RuntimeError: if the pool was shut down.
        """
        self._require_own_process()
        path = local_path(source, "StemPool")
        folder = local_path(output, "StemPool").absolute()
        namer = namer_of(folder, self._template, self._settings)
        job = namer.job(Track(path=path, folder=Path()), Tags())
        if not self._overwrite and any(file.exists() for file in job.paths.values()):
            raise UsageError(
                f"{quoted(job.destination)} holds stems already.",
                "Name another folder, or make the pool with overwrite=True.",
            )
        seconds = self._seconds(path)
        with self._lock:
            if self._shut:
                raise RuntimeError("a track was submitted to a pool that was shut down")
            if self._broken is not None:
                raise self._broken
            place = same_place(job.destination_path)
            if place in self._destinations:
                raise UsageError(
                    f"Another track of this pool is written to {quoted(job.destination)}.",
                    "Name another folder for one of them.",
                )
            self._destinations.add(place)
            future = StemFuture(path, self._withdraw)
            if self._pool is None:
                self._early.append((job, folder, seconds, future))
            else:
                self._add(job, folder, seconds, future)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stemsplit", daemon=True)
                self._thread.start()
                # A program that ends without `shutdown` waits, as with `concurrent.futures`.
                atexit.register(self.shutdown)
        return future

    def _seconds(self, path: Path) -> float:
        """Find out how much audio is separated, where memory grows with that."""
        if not self._settings.mwf or not path.is_file():
            return 0.0
        return whole_seconds(probe(path, path.stat()), self._settings)

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """Accept no more tracks.

        Args:
            wait: until all are settled and every process is gone.
            cancel_futures: cancel those that are not done, also those that are being separated.
        """
        if self._pid != os.getpid():
            return  # the tracks are the pool's, which this is a copy of
        with self._lock:
            self._shut = True
            futures = [*(one for *_, one in self._early), *self._work_of]
            if self._pool is not None:
                self._pool.close()
        if cancel_futures:
            for future in futures:
                future.cancel()
        thread = self._thread
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join()
            atexit.unregister(self.shutdown)

    def _require_own_process(self) -> None:
        """Refuse a copy of the pool that a fork of the program has made: its thread is not here."""
        if self._pid != os.getpid():
            raise UsageError(
                f"This pool belongs to process {self._pid}, of which this one is a copy.",
                "Make a StemPool after the fork, or submit tracks in the process that made it.",
            )

    def _withdraw(self, future: StemFuture) -> None:
        with self._lock:
            track_task = self._work_of.get(future)
            if track_task is not None and self._pool is not None:
                self._pool.cancel(track_task)

    def _add(self, job: Job, output: Path, seconds: float, future: StemFuture) -> None:
        if self._workshop is None or self._pool is None:
            raise RuntimeError("the pool has not been started")
        recorder = UnrecordedAttempts(overwrite=self._overwrite)
        track_task = self._workshop.track_task(job, output, recorder, seconds)
        self._futures[id(track_task)] = (track_task, future)
        self._work_of[future] = track_task
        self._pool.add(track_task)

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
            workshop = LocalPool(
                self._settings,
                plan,
                model_folder=weights_of(self._settings),
                start_method=start_method,
            )
            with workshop, contextlib.closing(workshop.pool.run()) as happenings:
                self._open(workshop)
                for happening in happenings:
                    self._take_in(happening)
        except BaseException as error:  # noqa: BLE001 - whoever waits for a future is told
            self._break(error)

    def _open(self, workshop: LocalPool) -> None:
        with self._lock:
            self._workshop, self._pool = workshop, workshop.pool
            for job, output, seconds, future in self._early:
                self._add(job, output, seconds, future)
                if future.cancelled():
                    self._pool.cancel(self._work_of[future])
            self._early.clear()
            if self._shut:
                self._pool.close()

    def _take_in(self, happening: PoolEvent) -> None:
        if not isinstance(happening, Launched | MessageReceived | TrackEnded):
            return
        _, future = self._futures[id(happening.track_task)]
        match happening:
            case Launched():
                future.begin()
            case MessageReceived(message=message):
                try:
                    self._on_message(future, message)
                except Exception:
                    _logger.exception("on_message failed for %s", future.source)
            case TrackEnded(outcome=outcome):
                self._settle(future, outcome)

    def _settle(self, future: StemFuture, outcome: Outcome) -> None:
        with self._lock:
            track_task = self._work_of.pop(future)
            del self._futures[id(track_task)]
            self._destinations.discard(same_place(outcome.job.destination_path))
        if not future.begin():
            return
        if outcome.reason is Reason.DONE:
            future.set_result(outcome)
        elif outcome.reason is Reason.CANCELLED:
            future.set_exception(CancelledError())
        else:
            future.set_exception(TrackError(outcome))

    def _break(self, error: BaseException) -> None:
        with self._lock:
            self._broken = error
            left = [*(one for *_, one in self._early), *self._work_of]
            self._early.clear()
        for future in left:
            if future.begin():
                future.set_exception(error)

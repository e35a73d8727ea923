"""Runs in the supervisor. Where tracks are worked on: a pool with all that it needs.

Turns settings and limits into a plan for this machine, starts the launcher, and gives each track
its files: a hidden work folder, which is published or removed, and a log, which is kept if it tells
something. What a batch, or a program's pool of futures, adds to it is which tracks there are.
"""

from __future__ import annotations

import os
import re
import shutil
import zlib
from typing import TYPE_CHECKING, Self

import msgspec

from stemsplit.errors import StemsplitError, UsageError
from stemsplit.job import Job, Limits, Reason, Settings
from stemsplit.library.publish import discard, make_work_folder, publish
from stemsplit.messages import Task
from stemsplit.models.catalogue import find
from stemsplit.supervisor import host
from stemsplit.supervisor.budget import budget_of, choose_crew
from stemsplit.supervisor.launch import Launcher
from stemsplit.supervisor.plan import Plan
from stemsplit.supervisor.pool import Pool
from stemsplit.supervisor.prediction import Forecast
from stemsplit.supervisor.verdict import Verdict
from stemsplit.supervisor.work import Conclusion

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.job import Effort
    from stemsplit.messages import Finished
    from stemsplit.models.catalogue import Model
    from stemsplit.supervisor.launch import StartMethod

STATE_FOLDER = ".stemsplit"
"""What stemsplit keeps in an output folder besides stems."""

_TELLING = frozenset(Reason) - {
    Reason.DONE,
    Reason.BAD_INPUT,
    Reason.OUTPUT_EXISTS,
    Reason.DISK_FULL,
    Reason.UNWRITABLE,
    Reason.CANCELLED,
    Reason.EVICTED,
}
"""Reasons after which the log of an attempt is kept."""


def checked(settings: Settings, *, jobs: int | None) -> Model:
    """Refuse settings that cannot be or that contradict each other, and give the model.

    Raises:
        UsageError: with what is wrong and what to do.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs must be 1 or more, not {jobs}.")
    if settings.threads is not None and settings.threads < 1:
        raise UsageError(f"threads must be 1 or more, not {settings.threads}.")
    if settings.format == "flac" and settings.bit_depth == "32f":
        raise UsageError(
            "FLAC holds no floating-point samples.", "Use --format wav, or --bit-depth 24."
        )
    return find(settings.model)


class TrackWork:
    """One track's files through its attempts; see `stemsplit.supervisor.pool.Work`."""

    def __init__(
        self, job: Job, settings: Settings, *, model_folder: Path, scratch: Path, output: Path
    ) -> None:
        """Keep the places; nothing is made yet.

        Args:
            job: what is wanted.
            settings: how.
            model_folder: the verified weights.
            scratch: takes logs while they are written; removed with the pool.
            output: keeps the logs of failures.
        """
        self._job = job
        self._settings = settings
        self._model_folder = model_folder
        self._scratch = scratch
        self._output = output

    @property
    def job(self) -> Job:
        """What is wanted."""
        return self._job

    def begin(self, number: int, effort: Effort) -> Task:
        """Make an empty work folder; raises `UnwritableError`, `DiskFullError`."""
        work = make_work_folder(self._job.destination_path)
        # For the warden, who removes it if this process cannot.
        self._note(work).write_bytes(os.fsencode(work))
        return Task(
            job=self._job,
            settings=self._settings,
            effort=effort,
            model_folder=os.fsencode(self._model_folder),
            work_folder=os.fsencode(work),
            log_file=os.fsencode(self._scratch / f"{work.name}.{number}.log"),
        )

    def conclude(self, task: Task, verdict: Verdict, result: Finished | None) -> Conclusion:
        """Publish a result; remove whatever else the attempt has left."""
        if result is not None:
            names = [stem.file_name for stem in result.stems]
            try:
                publish(task.work_path, self._job.destination_path, names)
            except StemsplitError as error:
                verdict = Verdict.of(error)
        discard(task.work_path)
        self._note(task.work_path).unlink(missing_ok=True)
        return Conclusion(verdict=verdict, log_file=self._keep_log(task, verdict))

    def _note(self, work: Path) -> Path:
        return self._scratch / f"{work.name}.unfinished"

    def _keep_log(self, task: Task, verdict: Verdict) -> Path | None:
        log = task.log_path
        if verdict.reason not in _TELLING or not log.exists():
            log.unlink(missing_ok=True)
            return None
        number = log.name.split(".")[-2]
        readable = re.sub(r"[^\w -]", "_", self._job.source_path.stem)[:60]
        name = f"{readable}-{zlib.crc32(self._job.source):08x}.{number}.log"
        kept = self._output / STATE_FOLDER / "logs" / name
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(log, kept)
        except OSError:
            return None  # what it says goes with the outcome all the same
        return kept


class Workshop:
    """A pool on this machine. A context manager around the work.

    Args:
        settings: how tracks are separated.
        limits: of memory, time and retries.
        jobs: how many children at once; None weighs processors against memory.
        tracks: how many there are to do, None if that is not known.
        model_folder: the verified weights.
        start_method: `forkserver` or `spawn`; the better one of this system if None.

    Raises:
        UsageError: in a child, where the program lacks the guard of its main module.
        InsufficientMemoryError: if not even one track fits.
    """

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        *,
        jobs: int | None,
        tracks: int | None,
        model_folder: Path,
        start_method: StartMethod | None,
    ) -> None:
        """Make the plan; nothing is started yet."""
        self._model_folder = model_folder
        engine_module = settings.engine.partition(":")[0]
        self._launcher = Launcher(
            ("stemsplit.child.main", engine_module), start_method=start_method
        )
        memory = host.host_memory(host.limiting_groups())
        budget = budget_of(limits, memory)
        forecast = Forecast(
            stems=len(find(settings.model).stems),
            preloaded=self._launcher.start_method == "forkserver",
        )
        crew = choose_crew(
            forecast.footprint,
            budget,
            memory,
            host.processors(),
            jobs=jobs,
            threads=settings.threads,
            tracks=tracks,
        )
        self.plan = Plan(crew=crew, budget=budget, limits=limits, forecast=forecast)
        self._settings = msgspec.structs.replace(settings, threads=crew.effort.threads)
        self.pool = Pool(self._launcher, self.plan)

    def __enter__(self) -> Self:
        """Start the launcher."""
        self._launcher.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        """End the launcher; the pool's generator must be closed by then."""
        self._launcher.__exit__(*exception)

    def work(self, job: Job, output: Path) -> TrackWork:
        """Make the work for a track."""
        return TrackWork(
            job,
            self._settings,
            model_folder=self._model_folder,
            scratch=self._launcher.scratch,
            output=output,
        )

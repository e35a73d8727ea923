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
from typing import TYPE_CHECKING, Protocol, Self

import msgspec

from stemsplit.errors import StemsplitError, UsageError
from stemsplit.job import Effort, Job, Limits, Reason, Settings
from stemsplit.library.publish import discard, make_work_folder, name_work_folder, publish
from stemsplit.library.state import State
from stemsplit.messages import Task
from stemsplit.models.catalogue import find
from stemsplit.supervisor import host
from stemsplit.supervisor.budget import budget_of, choose_crew
from stemsplit.supervisor.launch import Launcher
from stemsplit.supervisor.plan import Plan
from stemsplit.supervisor.pool import Pool
from stemsplit.supervisor.prediction import Forecast
from stemsplit.supervisor.verdict import Verdict
from stemsplit.supervisor.work import Conclusion, always_open

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from stemsplit.library.journal import Past
    from stemsplit.messages import Finished
    from stemsplit.models.catalogue import Model
    from stemsplit.supervisor.launch import StartMethod
    from stemsplit.supervisor.work import Gate

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


class Ledger(Protocol):
    """Is told of each step that a crash must not make forgotten, before it is taken."""

    def attempt_begins(
        self, job: Job, settings: Settings, effort: Effort, number: int, work: Path
    ) -> None:
        """A work folder will be made and a child started; raises `StemsplitError` to forbid it."""

    def publishing(self, job: Job, moves: Mapping[str, Path], work: Path) -> bool:
        """The files of a work folder will be shown; raises `StemsplitError` to forbid it.

        Returns:
            whether that will be completed if this process dies in the midst of it.
        """


class NoLedger:
    """Keeps no account."""

    def attempt_begins(
        self, job: Job, settings: Settings, effort: Effort, number: int, work: Path
    ) -> None:
        """Do nothing."""

    def publishing(self, job: Job, moves: Mapping[str, Path], work: Path) -> bool:
        """Do nothing."""
        del job, moves, work
        return False


class TrackWork:
    """One track's files through its attempts; see `stemsplit.supervisor.pool.Work`."""

    def __init__(
        self,
        job: Job,
        settings: Settings,
        *,
        nice: int,
        model_folder: Path,
        scratch: Path,
        output: Path,
        ledger: Ledger,
    ) -> None:
        """Keep the places; nothing is made yet.

        Args:
            job: what is wanted.
            settings: how.
            nice: how much its children give way to other programs.
            model_folder: the verified weights.
            scratch: takes logs while they are written; removed with the pool.
            output: the folder for all stems; keeps the logs of failures.
            ledger: is told of each step.
        """
        self._job = job
        self._settings = settings
        self._nice = nice
        self._model_folder = model_folder
        self._scratch = scratch
        self._output = output
        self._ledger = ledger
        self._work_folder: Path | None = None

    @property
    def job(self) -> Job:
        """What is wanted."""
        return self._job

    def written_bytes(self) -> int:
        """Count what its present child has written so far."""
        if self._work_folder is None:
            return 0
        try:
            return sum(file.stat().st_size for file in self._work_folder.iterdir())
        except OSError:
            return 0

    def begin(self, number: int, effort: Effort) -> Task:
        """Make an empty work folder; raises `UnwritableError`, `DiskFullError`."""
        work = name_work_folder(self._job.destination_path, self._output)
        self._ledger.attempt_begins(self._job, self._settings, effort, number, work)
        # For the warden, who removes it if this process cannot.
        self._note(work).write_bytes(os.fsencode(work))
        make_work_folder(work)
        self._work_folder = work
        return Task(
            job=self._job,
            settings=self._settings,
            effort=effort,
            nice=self._nice,
            model_folder=os.fsencode(self._model_folder),
            work_folder=os.fsencode(work),
            log_file=os.fsencode(self._scratch / f"{work.name}.{number}.log"),
        )

    def conclude(self, task: Task, verdict: Verdict, result: Finished | None) -> Conclusion:
        """Publish a result; remove whatever else the attempt has left."""
        if result is not None:
            paths = self._job.paths
            moves = {stem.file_name: paths[stem.stem] for stem in result.stems}
            try:
                if self._ledger.publishing(self._job, moves, task.work_path):
                    # From here on the next run completes it, and the warden must not.
                    self._note(task.work_path).unlink(missing_ok=True)
                publish(task.work_path, moves)
            except StemsplitError as error:
                verdict = Verdict.of(error)
        discard(task.work_path)
        self._note(task.work_path).unlink(missing_ok=True)
        self._work_folder = None
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
        kept = State(self._output).logs / name
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(log, kept)
        except OSError:
            return None  # what it says goes with the outcome all the same
        return kept


def make_plan(
    settings: Settings,
    limits: Limits,
    *,
    jobs: int | None,
    tracks: int | None,
    preloaded: bool,
    past: Iterable[Past] = (),
) -> Plan:
    """Decide how a pool goes about its work on this machine; starts nothing.

    Args:
        settings: how tracks are separated.
        limits: of memory, time and retries.
        jobs: how many children at once; None weighs processors against memory.
        tracks: how many there are to do, None if that is not known.
        preloaded: whether a fork server shares the libraries with its children.
        past: finished attempts of earlier runs, to learn from.

    Raises:
        InsufficientMemoryError: if not even one track fits.
    """
    memory = host.host_memory(host.limiting_groups())
    budget = budget_of(limits, memory)
    forecast = Forecast(stems=len(find(settings.model).stems), preloaded=preloaded)
    for one in past:
        forecast.learn(
            Effort(threads=one.threads, lean=one.lean),
            private_bytes=one.private_bytes,
            audio_seconds=one.audio_seconds,
            seconds=one.seconds,
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
    return Plan(crew=crew, budget=budget, limits=limits, forecast=forecast)


class Workshop:
    """A pool on this machine. A context manager around the work.

    Args:
        settings: how tracks are separated.
        plan: how the pool goes about it (`make_plan`).
        model_folder: the verified weights.
        start_method: how children are started; the one that the plan was made for.
        gate: is asked before each start.

    Raises:
        UsageError: in a child, where the program lacks the guard of its main module.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        *,
        model_folder: Path,
        start_method: StartMethod,
        gate: Gate = always_open,
    ) -> None:
        """Start nothing yet."""
        self._model_folder = model_folder
        engine_module = settings.engine.partition(":")[0]
        self._launcher = Launcher(
            ("stemsplit.child.main", engine_module), start_method=start_method
        )
        self.plan = plan
        self._settings = msgspec.structs.replace(settings, threads=plan.crew.effort.threads)
        self.pool = Pool(self._launcher, self.plan, gate=gate)

    def __enter__(self) -> Self:
        """Start the launcher."""
        self._launcher.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        """End the launcher; the pool's generator must be closed by then."""
        self._launcher.__exit__(*exception)

    def work(self, job: Job, output: Path, ledger: Ledger | None = None) -> TrackWork:
        """Make the work for a track."""
        return TrackWork(
            job,
            self._settings,
            nice=self.plan.limits.nice,
            model_folder=self._model_folder,
            scratch=self._launcher.scratch,
            output=output,
            ledger=ledger or NoLedger(),
        )

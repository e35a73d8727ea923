"""Runs in the supervisor. Where tracks are worked on: a pool with all that it needs.

Turns settings and limits into a plan for this machine, starts the launcher, and gives each track
its files: a hidden work folder, which is published or removed, and a log, which is kept if it tells
something. What a batch, or a program's pool of futures, adds to it is which tracks there are.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import zlib
from typing import TYPE_CHECKING, Protocol

import msgspec

from stemsplit.core.errors import OutputExistsError, StemsplitError, UsageError
from stemsplit.core.formats import require_possible
from stemsplit.core.job import Effort, Job, Limits, Reason, Settings
from stemsplit.core.messages import Task
from stemsplit.core.text import quoted
from stemsplit.journal.layout import State
from stemsplit.journal.records import coming_stems
from stemsplit.models.catalogue import find, written
from stemsplit.models.converted import ensure_converted
from stemsplit.models.engines import engine_of, resolved
from stemsplit.models.fetch import ensure
from stemsplit.storage.publish import (
    discard,
    is_there,
    left_behind,
    make_work_folder,
    name_work_folder,
    publish,
    refused,
    require_one_disk,
    take_back,
)
from stemsplit.storage.remote import is_remote, module_of
from stemsplit.supervisor import host
from stemsplit.supervisor.budget import budget_of, choose_crew
from stemsplit.supervisor.exit_diagnosis import Verdict
from stemsplit.supervisor.launcher import Launcher, usable_start_method
from stemsplit.supervisor.pool import Pool
from stemsplit.supervisor.pool_interface import Conclusion, always_open
from stemsplit.supervisor.pool_plan import Plan
from stemsplit.supervisor.prediction import Forecast, Kind, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from typing import Self

    from stemsplit.core.messages import Finished
    from stemsplit.journal.records import Past, Stem
    from stemsplit.models.fetch import Progress as DownloadProgress
    from stemsplit.supervisor.launcher import StartMethod
    from stemsplit.supervisor.pool_interface import Gate, Work

_TELLING = frozenset(Reason) - {
    Reason.DONE,
    Reason.BAD_INPUT,
    Reason.DAMAGED,
    Reason.OUTPUT_EXISTS,
    Reason.DISK_FULL,
    Reason.UNWRITABLE,
    Reason.CANCELLED,
    Reason.EVICTED,
}
"""Reasons after which the log of an attempt is kept."""


def checked(settings: Settings, *, jobs: int | None) -> Settings:
    """Refuse settings that cannot be or that contradict each other; give them in their usual form.

    The engine is named in them, where it was left open.

    Raises:
        UsageError: with what is wrong and what to do.
        EngineError: if the engine is not installed.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs must be 1 or more, not {jobs}.")
    if settings.threads is not None and settings.threads < 1:
        raise UsageError(f"threads must be 1 or more, not {settings.threads}.")
    try:
        msgspec.convert(msgspec.structs.asdict(settings), Settings)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"The settings cannot be: {error}.", "Look at the types of stemsplit.Settings."
        ) from error
    stems = written(settings)
    _require_together(settings)
    require_possible(settings.format, settings.sample_rate, settings.bit_rate)
    if not settings.separates:
        return settings
    settings = resolved(settings)
    model = find(settings.model)
    chosen = tuple(stem for stem in stems if stem in model.stems)
    return msgspec.structs.replace(
        settings, model=model.name, stems=None if chosen == model.stems else chosen
    )


def _require_together(settings: Settings) -> None:
    """Refuse settings that contradict each other."""
    track = settings.audio_track
    if track is not None and not (track.isalpha() or (track.isdecimal() and int(track))):
        raise UsageError(
            f"The audio track cannot be {quoted(track)}.",
            "Write its number, from 1, or a language such as en or deu.",
        )
    if settings.format == "flac" and settings.bit_depth == "32f":
        raise UsageError(
            "FLAC holds no floating-point samples.", "Use --format wav, or --bit-depth 24."
        )
    integers = settings.format == "wav" and settings.bit_depth in {"16", "24"}
    if settings.clip == "none" and (integers or settings.format == "flac"):
        raise UsageError(
            "Samples of integers cannot go beyond full scale.",
            "Use --bit-depth 32f with --format wav, or --clip clamp or rescale.",
        )
    if settings.mwf and settings.high_band != "zeros":
        raise UsageError(
            "The Wiener filter of --mwf has no high band to choose.",
            "Leave --high-band or --mwf out.",
        )
    if not settings.separates and (settings.stems or settings.residual or settings.mwf):
        raise UsageError(
            "A conversion separates nothing.", "Leave stems, residual and mwf out of its settings."
        )
    if not math.isfinite(settings.start_seconds) or settings.start_seconds < 0:
        raise UsageError("A track cannot start before its beginning.", "Give --start 0 or more.")
    duration = settings.duration_seconds
    if duration is not None and not 0 < duration < math.inf:
        raise UsageError("Nothing would be taken of a track.", "Give --duration more than 0.")


class Ledger(Protocol):
    """Is told of each step that a crash must not make forgotten, before it is taken."""

    def attempt_begins(
        self, job: Job, settings: Settings, effort: Effort, number: int, work: Path
    ) -> None:
        """A work folder will be made and a child started; raises `StemsplitError` to forbid it."""

    def publishing(self, job: Job, coming: Sequence[Stem], result: Finished) -> bool:
        """The files of a work folder will be shown; raises `StemsplitError` to forbid it.

        Args:
            job: the track.
            coming: the files, and where they will be.
            result: what the child said of them.

        Returns:
            whether that will be completed if this process dies or fails in the midst of it.
        """

    def taken_back(self, job: Job) -> None:
        """They could not be shown, and none of them is."""


class NoLedger:
    """Keeps no account; forbids to replace anything unless it is told otherwise."""

    def __init__(self, *, overwrite: bool) -> None:
        """Allow or forbid that."""
        self._overwrite = overwrite

    def attempt_begins(
        self, job: Job, settings: Settings, effort: Effort, number: int, work: Path
    ) -> None:
        """Do nothing."""

    def publishing(self, job: Job, coming: Sequence[Stem], result: Finished) -> bool:
        """Look whether anything is in the way."""
        del coming, result
        for path in job.paths.values():
            if is_there(path) and not self._overwrite:
                raise OutputExistsError(
                    f"{quoted(path)} was made by somebody while the track was separated.",
                    "Move it away, or allow to overwrite it.",
                )
        return False

    def taken_back(self, job: Job) -> None:
        """Do nothing."""


class _HalfShownError(StemsplitError):
    """Some stems are shown and others are not; they are kept for the next run to show."""

    def __init__(self, cause: StemsplitError) -> None:
        super().__init__(cause.message, cause.remedy)
        self.cause = cause


class TrackWork:
    """One track's files through its attempts; see `stemsplit.supervisor.pool.Work`."""

    def __init__(
        self,
        job: Job,
        settings: Settings,
        *,
        nice: int,
        model_folder: Path | None,
        scratch: Path,
        output: Path,
        ledger: Ledger,
        audio_seconds: float,
    ) -> None:
        """Keep the places; nothing is made yet.

        Args:
            job: what is wanted.
            settings: how.
            nice: how much its children give way to other programs.
            model_folder: the verified weights; None where nothing is separated.
            scratch: takes logs while they are written; removed with the pool.
            output: the folder for all stems; keeps the logs of failures.
            ledger: is told of each step.
            audio_seconds: how much audio is separated, where memory depends on it.
        """
        self._job = job
        self._audio_seconds = audio_seconds
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

    @property
    def audio_seconds(self) -> float:
        """See `stemsplit.supervisor.pool_interface.Work`."""
        return self._audio_seconds

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
        shown_from = name_work_folder(self._job.destination_path, self._output)
        elsewhere = is_remote(shown_from)
        work = self._scratch / shown_from.name if elsewhere else shown_from
        self._ledger.attempt_begins(self._job, self._settings, effort, number, shown_from)
        with contextlib.suppress(OSError):  # a full or missing temporary folder is no reason
            # For the warden, who removes it if this process cannot.
            self._note(work).write_bytes(os.fsencode(work))
        make_work_folder(work)
        self._work_folder = work
        try:
            if not elsewhere:
                require_one_disk(work, self._job.paths.values())
        except (StemsplitError, OSError):
            discard(work)
            raise
        return Task(
            job=self._job,
            settings=self._settings,
            effort=effort,
            nice=self._nice,
            model_folder=b"" if self._model_folder is None else os.fsencode(self._model_folder),
            work_folder=os.fsencode(work),
            staging=os.fsencode(shown_from) if elsewhere else b"",
            log_file=os.fsencode(self._scratch / f"{work.name}.{number}.log"),
        )

    def conclude(self, task: Task, verdict: Verdict, result: Finished | None) -> Conclusion:
        """Publish a result; remove whatever else the attempt has left."""
        keep = False
        if result is not None:
            try:
                self._publish(task, result)
            except _HalfShownError as error:
                keep, verdict = True, Verdict.of(error.cause)
            except StemsplitError as error:
                verdict = Verdict.of(error)
        if not keep:
            for folder in {task.work_path, task.shown_from}:
                discard(folder)
        with contextlib.suppress(OSError):
            self._note(task.work_path).unlink(missing_ok=True)
        self._work_folder = None
        return Conclusion(verdict=verdict, log_file=self._keep_log(task, verdict))

    def _publish(self, task: Task, result: Finished) -> None:
        """Show the stems, all of them; if that fails, none of them.

        Raises:
            StemsplitError: if none is shown.
            _HalfShownError: if some had to replace older ones before others failed.
        """
        work, paths = task.shown_from, self._job.paths
        moves = {stem.file_name: paths[stem.stem] for stem in result.stems}
        replaced = {name for name, path in moves.items() if is_there(path)}
        try:
            coming = coming_stems(task.work_path, moves, self._output)
        except OSError as error:
            raise refused(work, error) from error
        will_be_completed = self._ledger.publishing(self._job, coming, result)
        if will_be_completed:
            # From here on the next run completes it, and the warden must not.
            with contextlib.suppress(OSError):
                self._note(task.work_path).unlink(missing_ok=True)
        try:
            publish(work, moves)
        except StemsplitError as error:
            left = left_behind(work, moves)
            if left is None and will_be_completed:
                raise _HalfShownError(error) from error
            if not left:
                return  # it failed when all was done
            if not take_back(work, moves, replaced) and will_be_completed:
                raise _HalfShownError(error) from error
            self._ledger.taken_back(self._job)
            raise

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
        state = State(self._output)
        kept = state.logs / name
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.unlink(missing_ok=True)  # a link would be written through
            shutil.move(log, kept)
            state.share(kept.parent, kept)
        except OSError:
            return None  # what it says goes with the outcome all the same
        return kept


def written_by(work: Work) -> int:
    """Count what the present child of a track has written so far, where that is known."""
    return work.written_bytes() if isinstance(work, TrackWork) else 0


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
    forecast = Forecast(way_of(settings), preloaded=preloaded)
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
        jobs=1 if settings.mwf else jobs,
        threads=settings.threads,
        tracks=tracks,
    )
    return Plan(crew=crew, budget=budget, limits=limits, forecast=forecast)


def weights_of(
    settings: Settings,
    *,
    published: bool = False,
    progress: Callable[[str], DownloadProgress] | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> Path | None:
    """Give the folder of the verified weights, fetched if need be; None where none are needed.

    They are in the form that the engine takes, or with `published` as they were published.

    Raises:
        ModelError: if they cannot be had.
    """
    if not settings.separates:
        return None
    model = find(settings.model)
    folder = ensure(model.weights, progress=progress, note=note)
    if engine_of(settings).converted and not published:
        return ensure_converted(model, folder, note=note)
    return folder


def storage_of(paths: Iterable[str | bytes | os.PathLike[str]]) -> frozenset[str]:
    """Give the modules that the remote ones of some paths need.

    Raises:
        UsageError: if one is not installed.
    """
    kinds = {os.fsencode(one).split(b"/")[1]: one for one in paths if is_remote(one)}
    return frozenset(map(module_of, kinds.values()))


def way_of(settings: Settings) -> Way:
    """Give what a child's memory and time depend on."""
    if not settings.separates:
        return Way(kind="conversion", stems=0)
    kind: Kind = "whole" if settings.mwf else engine_of(settings).name
    return Way(kind=kind, stems=len(find(settings.model).stems))


def start_method_of(settings: Settings, wanted: StartMethod | None = None) -> StartMethod:
    """Give how children are started: as is wanted, or as serves them best, if it can be.

    A fork server shares libraries that take long to load and much memory: TensorFlow's. Those of
    the engine onnx take little of either, and have threads once they are imported.
    """
    return usable_start_method(wanted) if engine_of(settings).forkable else "spawn"


def preload_of(settings: Settings) -> tuple[str, ...]:
    """Give the modules that a fork server imports for children who work so."""
    engine = settings.loader.partition(":")[0]
    return ("stemsplit.child.main", *(("stemsplit.audio.transforms", engine) if engine else ()))


class Workshop:
    """A pool on this machine. A context manager around the work.

    Args:
        settings: how tracks are separated.
        plan: how the pool goes about it (`make_plan`).
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
        plan: Plan,
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
        self._settings = msgspec.structs.replace(settings, threads=plan.crew.effort.threads)
        self.pool = Pool(self._launcher, self.plan, gate=gate)

    def __enter__(self) -> Self:
        """Start the launcher."""
        self._launcher.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        """End the launcher; the pool's generator must be closed by then."""
        self._launcher.__exit__(*exception)

    def work(self, job: Job, output: Path, ledger: Ledger, audio_seconds: float = 0.0) -> TrackWork:
        """Make the work for a track; how long it is matters where memory grows with that."""
        return TrackWork(
            job,
            self._settings,
            nice=self.plan.limits.nice,
            model_folder=self._model_folder,
            scratch=self._launcher.scratch,
            output=output,
            ledger=ledger,
            audio_seconds=audio_seconds,
        )

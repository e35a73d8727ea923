"""Runs in the supervisor. The library call behind `stemsplit separate`: inputs in, stems out.

Wires the parts together: scan and plan, the model, the pool, publishing, events. It prints nothing.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stemsplit import __version__, events, narrate
from stemsplit.errors import ExitCode, StemsplitError, UsageError
from stemsplit.job import Job, Outcome, Reason, Settings
from stemsplit.library.plan import existing_stems, plan
from stemsplit.library.publish import check_writable, discard, make_work_folder, publish
from stemsplit.library.scan import Problem, Track, scan
from stemsplit.messages import Finished, Progress, Started, Task, Warned
from stemsplit.models.catalogue import MODELS, find
from stemsplit.models.fetch import ensure
from stemsplit.supervisor.launch import Launcher
from stemsplit.supervisor.pool import Ended, Heard, Pool
from stemsplit.text import printable, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from stemsplit.models.catalogue import Model
    from stemsplit.models.fetch import Progress as DownloadProgress
    from stemsplit.supervisor.launch import StartMethod

    Listener = Callable[[events.Event], None]


_STEM_NAMES = frozenset(stem for model in MODELS.values() for stem in model.stems)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """How a batch ended.

    Attributes:
        outcomes: of every track that was tried, in the order in which they ended.
        problems: inputs that led to no track.
        skipped: jobs whose stems were there already.
        not_started: jobs that were left out because the batch was stopped.
        stopped: whether it was, because all further tracks would have failed alike.
    """

    outcomes: tuple[Outcome, ...]
    problems: tuple[Problem, ...]
    skipped: tuple[Job, ...]
    not_started: tuple[Job, ...]
    stopped: bool

    @property
    def exit_code(self) -> ExitCode:
        """What the command returns: 0 if all went well, 3 if some failed, 1 if all had to stop."""
        if self.stopped:
            return ExitCode.ERROR
        if self.problems or any(one.reason is not Reason.DONE for one in self.outcomes):
            return ExitCode.SOME_FAILED
        return ExitCode.DONE


def separate(
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    jobs: int = 1,
    overwrite: bool = False,
    start_method: StartMethod | None = None,
    on_event: Listener = lambda _event: None,
    download_progress: Callable[[str], DownloadProgress] | None = None,
) -> BatchResult:
    """Separate audio files into stems, each in a child process of its own.

    A track that fails does not stop the others. Stems of one track appear together, in a folder
    below `output` named after the track, or not at all.

    Args:
        inputs: audio files and folders.
        output: made if need be.
        settings: model, format and so on.
        jobs: how many children may run at once, at least 1.
        overwrite: do tracks again whose stems are there.
        start_method: `forkserver` or `spawn`; the better one of this system if None.
        on_event: is told what happens, in this thread.
        download_progress: shows a model's download; see `stemsplit.models.fetch`.

    Raises:
        UsageError: if the settings contradict each other or two tracks would share a folder.
        ModelError: if the model is missing and cannot be fetched, or is not whole.
        EngineError: if no child process can be started.
        UnwritableError, DiskFullError: if the output folder cannot be used at all.
        KeyboardInterrupt: as it came; the children are ended and nothing is half-written.
    """
    settings = settings or Settings()
    model = _checked(settings, jobs)
    if settings.threads is None:
        settings = msgspec.structs.replace(settings, threads=_share_of_processors(jobs))
    folder = Path(output).absolute()
    found = list(scan(_paths(inputs), folder))
    problems = [one for one in found if isinstance(one, Problem)]
    tracks = (one for one in found if isinstance(one, Track))
    planned = plan(tracks, folder, model.stems, _STEM_NAMES)
    on_event(
        events.BatchStarted(
            version=__version__,
            tracks=len(planned) + len(problems),
            model=model.name,
            output=printable(folder),
        )
    )
    batch = _Batch(settings=settings, output=folder, overwrite=overwrite, tell=on_event)
    to_do = batch.sort_out(planned)
    for problem in problems:
        batch.tell(narrate.failed_input(problem))
    if to_do:
        check_writable(folder)
        batch.model_folder = ensure(
            model.weights,
            progress=download_progress,
            note=lambda text: on_event(events.Note(text=text)),
        )
        batch.run(to_do, size=jobs, start_method=start_method)
    result = batch.result(tuple(problems))
    on_event(batch.summary(result))
    return result


def _paths(inputs: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    for one in inputs:
        if not os.fspath(one):
            raise UsageError(
                "One of the inputs is an empty name.", "Is a variable of your shell not set?"
            )
        yield Path(one)


def _share_of_processors(jobs: int) -> int:
    """Share the processors that this process may use among `jobs` children, at least 1 each."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return max(1, (available or os.cpu_count() or 1) // jobs)


def _checked(settings: Settings, jobs: int) -> Model:
    if jobs < 1:
        raise UsageError(f"jobs must be 1 or more, not {jobs}.")
    if settings.threads is not None and settings.threads < 1:
        raise UsageError(f"threads must be 1 or more, not {settings.threads}.")
    if settings.format == "flac" and settings.bit_depth == "32f":
        raise UsageError(
            "FLAC holds no floating-point samples.", "Use --format wav, or --bit-depth 24."
        )
    return find(settings.model)


@dataclass(slots=True, kw_only=True)
class _Batch:
    """The state of one call of `separate`."""

    settings: Settings
    output: Path
    overwrite: bool
    tell: Listener
    model_folder: Path = field(default_factory=Path)
    skipped: list[Job] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    pending: list[Job] = field(default_factory=list)
    warnings: dict[bytes, list[str]] = field(default_factory=dict)
    work_folders: set[Path] = field(default_factory=set)
    stopped: bool = False
    began: float = field(default_factory=time.monotonic)

    def sort_out(self, planned: Sequence[Job]) -> list[Job]:
        """Leave out what is done, and refuse what would overwrite somebody's file."""
        to_do = []
        for job in planned:
            present = [] if self.overwrite else existing_stems(job, self.settings.format)
            if job.destination_path.exists() and not job.destination_path.is_dir():
                self._refuse(
                    job,
                    f"{quoted(job.destination)} is in the way: it is not a folder.",
                    "Name another folder with -o.",
                )
            elif len(present) == len(job.stems):
                self.skipped.append(job)
                self.tell(narrate.skipped(job))
            elif present:
                self._refuse(
                    job,
                    f"{quoted(present[0])} exists, but other stems of it do not.",
                    "Use --overwrite to replace it, or another folder with -o.",
                )
            else:
                to_do.append(job)
        return to_do

    def _refuse(self, job: Job, message: str, remedy: str) -> None:
        self._end(Outcome(job=job, reason=Reason.OUTPUT_EXISTS, message=message, remedy=remedy))

    def run(self, jobs: list[Job], *, size: int, start_method: StartMethod | None) -> None:
        """Put every job through a child; ends early if all further ones would fail alike."""
        self.pending = list(reversed(jobs))
        engine_module = self.settings.engine.partition(":")[0]
        preload = ("stemsplit.child.main", engine_module, "stemsplit.child.preloaded")
        try:
            with (
                Launcher(preload, start_method=start_method) as launcher,
                tempfile.TemporaryDirectory(prefix="stemsplit-") as logs,
                contextlib.closing(Pool(launcher, size).run(self._tasks(Path(logs)))) as happenings,
            ):
                for happening in happenings:
                    if isinstance(happening, Heard):
                        self._hear(happening)
                    elif isinstance(happening, Ended):
                        self._judge(happening)
        finally:
            # Only now is every child gone that might still write.
            for work in self.work_folders:
                discard(work)

    def _tasks(self, logs: Path) -> Iterator[Task]:
        while self.pending and not self.stopped:
            job = self.pending.pop()
            try:
                work = make_work_folder(job.destination_path)
            except StemsplitError as error:
                self._end(_failed(job, error))
                continue
            self.work_folders.add(work)
            yield Task(
                job=job,
                settings=self.settings,
                model_folder=os.fsencode(self.model_folder),
                work_folder=os.fsencode(work),
                log_file=os.fsencode(logs / f"{work.name}.log"),
            )

    def _hear(self, heard: Heard) -> None:
        job = heard.task.job
        match heard.message:
            case Started() as started:
                self.tell(narrate.started(job, started))
            case Progress(audio_seconds=seconds):
                self.tell(events.TrackProgress(source=printable(job.source), audio_seconds=seconds))
            case Warned(text=text):
                self.warnings.setdefault(job.source, []).append(text)

    def _judge(self, ended: Ended) -> None:
        job = ended.task.job
        work = ended.task.work_path
        ended.task.log_path.unlink(missing_ok=True)
        outcome = Outcome(
            job=job,
            reason=ended.verdict.reason,
            message=ended.verdict.message,
            remedy=ended.verdict.remedy,
            warnings=tuple(self.warnings.pop(job.source, ())),
            seconds=time.monotonic() - ended.started,
            peak_pss_bytes=ended.peak_memory_bytes,
            exit_code=ended.exit_code,
            detail=ended.verdict.detail,
        )
        if ended.verdict.reason is Reason.DONE and ended.result is not None:
            outcome = self._publish(outcome, ended.result, work)
        discard(work)
        self.work_folders.discard(work)
        self._end(outcome)

    def _publish(self, outcome: Outcome, result: Finished, work: Path) -> Outcome:
        try:
            publish(work, outcome.job.destination_path, [one.file_name for one in result.stems])
        except StemsplitError as error:
            return _failed(outcome.job, error)
        return msgspec.structs.replace(
            outcome, stems=result.stems, audio_seconds=result.audio_seconds
        )

    def _end(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.stopped = self.stopped or (outcome.reason.stops_batch and self._is_everywhere(outcome))
        self.tell(narrate.ended(outcome))

    def _is_everywhere(self, outcome: Outcome) -> bool:
        """Tell a folder that cannot be written from an output that cannot be written at all."""
        if outcome.reason is not Reason.UNWRITABLE:
            return True
        try:
            check_writable(self.output)
        except StemsplitError:
            return True
        return False

    def result(self, problems: tuple[Problem, ...]) -> BatchResult:
        """Sum up for the caller."""
        return BatchResult(
            outcomes=tuple(self.outcomes),
            problems=problems,
            skipped=tuple(self.skipped),
            not_started=tuple(reversed(self.pending)),
            stopped=self.stopped,
        )

    def summary(self, result: BatchResult) -> events.BatchDone:
        """Sum up for whoever listens."""
        reasons = Counter(outcome.reason for outcome in result.outcomes)
        peaks = [one.peak_pss_bytes for one in result.outcomes if one.peak_pss_bytes is not None]
        return events.BatchDone(
            done=reasons[Reason.DONE],
            skipped=len(result.skipped),
            failed=len(result.outcomes) - reasons[Reason.DONE] + len(result.problems),
            not_started=len(result.not_started),
            seconds=time.monotonic() - self.began,
            audio_seconds=sum(outcome.audio_seconds for outcome in result.outcomes),
            peak_memory_bytes=max(peaks, default=None),
            exit_code=result.exit_code,
        )


def _failed(job: Job, error: StemsplitError) -> Outcome:
    return Outcome(job=job, reason=Reason.of(error), message=error.message, remedy=error.remedy)

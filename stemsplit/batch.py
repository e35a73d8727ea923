"""Runs in the supervisor. The library call behind `stemsplit separate`: inputs in, stems out.

Wires the parts together: scan and plan, the model, the workshop, events. It prints nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit import __version__, events, narrate
from stemsplit.errors import ExitCode, StemsplitError, UsageError
from stemsplit.job import Job, Limits, Outcome, Reason, Settings
from stemsplit.library.plan import existing_stems, plan
from stemsplit.library.publish import check_writable
from stemsplit.library.scan import Problem, Track, scan
from stemsplit.messages import Hello, Progress, Started
from stemsplit.models.catalogue import MODELS
from stemsplit.models.fetch import ensure
from stemsplit.supervisor.household import refuse_inside_a_child
from stemsplit.supervisor.work import Heard, Noted, Retried, Settled
from stemsplit.text import printable, quoted
from stemsplit.workshop import Workshop, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from stemsplit.models.fetch import Progress as DownloadProgress
    from stemsplit.supervisor.launch import StartMethod
    from stemsplit.supervisor.pool import Pool
    from stemsplit.supervisor.work import PoolEvent

    Listener = Callable[[events.Event], None]


_STEM_NAMES = frozenset(stem for model in MODELS.values() for stem in model.stems)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """How a batch ended.

    Attributes:
        outcomes: of every track that was tried, in the order in which they ended.
        problems: inputs that led to no track.
        skipped: jobs whose stems were there already.
        not_started: jobs that were left out because the batch was stopped or drained.
        stopped: whether it was stopped, because all further tracks would have failed alike.
        drained: whether it was asked to start nothing more.
    """

    outcomes: tuple[Outcome, ...]
    problems: tuple[Problem, ...]
    skipped: tuple[Job, ...]
    not_started: tuple[Job, ...]
    stopped: bool
    drained: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """What the command returns.

        0 if all went well, 3 if some failed, 1 if all had to stop, 130 if it was drained with
        work left.
        """
        if self.stopped:
            return ExitCode.ERROR
        if self.drained and self.not_started:
            return ExitCode.INTERRUPTED
        if self.problems or any(one.reason is not Reason.DONE for one in self.outcomes):
            return ExitCode.SOME_FAILED
        return ExitCode.DONE


class Control:
    """Lets another thread, or a signal handler, ask a batch that runs to end.

    Attributes:
        draining: whether it was asked to start nothing more.
        stopped_by: what it was stopped with, None if it was not.
    """

    def __init__(self) -> None:
        """Ask nothing yet."""
        self.draining = False
        self.stopped_by: BaseException | None = None
        self._pool: Pool | None = None

    @property
    def has_children(self) -> bool:
        """Whether children may be running; before and after that there is nothing to end."""
        return self._pool is not None

    def drain(self) -> None:
        """Start nothing more, and let the tracks that are being separated finish."""
        self.draining = True
        if self._pool is not None:
            self._pool.drain()

    def stop(self, error: BaseException) -> None:
        """End every child now; `separate` then raises `error`."""
        self.stopped_by = self.stopped_by or error
        if self._pool is not None:
            self._pool.stop()

    @contextlib.contextmanager
    def over(self, pool: Pool) -> Iterator[None]:
        """Act on `pool` within this; for the batch itself."""
        self._pool = pool
        if self.draining:
            pool.drain()
        if self.stopped_by is not None:
            pool.stop()
        try:
            yield
        finally:
            self._pool = None


def separate(  # noqa: PLR0913 - each is a setting that a person names
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    limits: Limits | None = None,
    jobs: int | None = None,
    overwrite: bool = False,
    start_method: StartMethod | None = None,
    control: Control | None = None,
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
        limits: of memory, time and retries.
        jobs: how many children may run at once, at least 1; None weighs processors and memory.
        overwrite: do tracks again whose stems are there.
        start_method: `forkserver` or `spawn`; the better one of this system if None.
        control: lets others ask the batch to end.
        on_event: is told what happens, in this thread.
        download_progress: shows a model's download; see `stemsplit.models.fetch`.

    Raises:
        UsageError: if the settings contradict each other, two tracks would share a folder, or the
            program lacks the guard of its main module.
        ModelError: if the model is missing and cannot be fetched, or is not whole.
        EngineError: if no child process can be started.
        InsufficientMemoryError: if not even one track fits into the memory there is.
        UnwritableError, DiskFullError: if the output folder cannot be used at all.
        KeyboardInterrupt: as it came; the children are ended and nothing is half-written.
    """
    refuse_inside_a_child()
    settings = settings or Settings()
    model = checked(settings, jobs=jobs)
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
    batch = _Batch(
        settings=settings,
        output=folder,
        overwrite=overwrite,
        control=control or Control(),
        tell=on_event,
    )
    to_do = batch.sort_out(planned)
    for problem in problems:
        on_event(narrate.failed_input(problem))
    if to_do:
        check_writable(folder)
        model_folder = ensure(
            model.weights,
            progress=download_progress,
            note=lambda text: on_event(events.Note(text=text)),
        )
        workshop = Workshop(
            settings,
            limits or Limits(),
            jobs=jobs,
            tracks=len(to_do),
            model_folder=model_folder,
            start_method=start_method,
        )
        batch.run(to_do, workshop)
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


@dataclass(slots=True, kw_only=True)
class _Batch:
    """The state of one call of `separate`."""

    settings: Settings
    output: Path
    overwrite: bool
    control: Control
    tell: Listener
    skipped: list[Job] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    not_started: list[Job] = field(default_factory=list)
    preloaded: dict[bytes, bool] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
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

    def run(self, jobs: list[Job], workshop: Workshop) -> None:
        """Put every job through the pool; ends early if all further ones would fail alike."""
        pool = workshop.pool
        with (
            self.control.over(pool),
            workshop,
            contextlib.closing(pool.run()) as happenings,
        ):
            for job in jobs:
                pool.add(workshop.work(job, self.output))
            pool.close()
            self.tell(narrate.pool_started(workshop.plan))
            for happening in happenings:
                self._take_in(happening)
                if self.stopped:
                    pool.drain()
        if self.control.stopped_by is not None:
            raise self.control.stopped_by
        self.not_started = [work.job for work in pool.unstarted()]
        self.peak_memory_bytes = pool.peak_memory_bytes

    def _take_in(self, happening: PoolEvent) -> None:
        match happening:
            case Heard(work=work, message=Hello(preloaded=preloaded)):
                self.preloaded[work.job.source] = preloaded
            case Heard(work=work, message=Started() as started):
                preloaded = self.preloaded.pop(work.job.source, False)
                self.tell(narrate.started(work.job, started, preloaded=preloaded))
            case Heard(work=work, message=Progress(audio_seconds=seconds)):
                source = printable(work.job.source)
                self.tell(events.TrackProgress(source=source, audio_seconds=seconds))
            case Retried(work=work, attempt=attempt, effort=effort):
                self.tell(narrate.retried(work.job, attempt, effort))
            case Settled(outcome=outcome):
                self._end(outcome)
            case Noted(text=text):
                self.tell(events.Note(text=text))

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
            not_started=tuple(self.not_started),
            stopped=self.stopped,
            drained=self.control.draining,
        )

    def summary(self, result: BatchResult) -> events.BatchDone:
        """Sum up for whoever listens."""
        reasons = Counter(outcome.reason for outcome in result.outcomes)
        return events.BatchDone(
            done=reasons[Reason.DONE],
            skipped=len(result.skipped),
            failed=len(result.outcomes) - reasons[Reason.DONE] + len(result.problems),
            not_started=len(result.not_started),
            seconds=time.monotonic() - self.began,
            audio_seconds=sum(outcome.audio_seconds for outcome in result.outcomes),
            peak_memory_bytes=self.peak_memory_bytes,
            exit_code=result.exit_code,
        )

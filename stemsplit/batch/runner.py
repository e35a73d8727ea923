"""Runs in the supervisor. A batch from its inputs to its end: journal, pool, events in step.

Wires the parts together and prints nothing. Every step that a crash must not make forgotten is in
the journal before it is taken.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from stemsplit.batch import event_factory, events
from stemsplit.batch.decisions import Action, wanted_of
from stemsplit.batch.dry_run import predicted_seconds
from stemsplit.batch.planning import (
    audio_seconds,
    find_tracks,
    plan_batch,
    stem_bytes,
    whole_seconds,
)
from stemsplit.batch.progress_tracker import ProgressTracker
from stemsplit.batch.result import BatchResult
from stemsplit.core.errors import ExitCode, StemsplitError
from stemsplit.core.messages import Hello, Progress, Started
from stemsplit.core.outcome import Outcome, Reason, WarningKind, count_kinds
from stemsplit.core.text import counted, moment, printable
from stemsplit.executors.gates import Gates, Power, Room, Until, awake
from stemsplit.executors.local import LocalExecutor
from stemsplit.executors.pool_planning import storage_of
from stemsplit.executors.track_task import written_by
from stemsplit.journal.lock import held
from stemsplit.journal.reader import JournalReader
from stemsplit.journal.records import Entry, JobState, places_below
from stemsplit.journal.recovery import recover, sweep
from stemsplit.journal.status_file import StatusFile
from stemsplit.journal.writer import Journal
from stemsplit.models.forms import weights_of
from stemsplit.storage.publish import check_writable
from stemsplit.storage.remote import is_remote
from stemsplit.supervisor.pool_interface import MessageReceived, Noted, Retried, TrackEnded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from stemsplit.batch.control import Control
    from stemsplit.batch.event_factory import Listener
    from stemsplit.batch.planning import BatchPlan, DecidedTrack
    from stemsplit.batch.request import BatchRequest
    from stemsplit.core.job import Job
    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Finished
    from stemsplit.core.settings import Settings
    from stemsplit.executors.base import Executor
    from stemsplit.journal.records import Stem
    from stemsplit.journal.recovery import Recovery
    from stemsplit.library.destinations import PlannedTrack
    from stemsplit.library.scan import Found, Problem
    from stemsplit.models.fetch import Progress as DownloadProgress
    from stemsplit.supervisor.pool_interface import Gate, PoolEvent, TrackTask
    from stemsplit.supervisor.pool_plan import PoolPlan


def run(
    request: BatchRequest,
    control: Control,
    tell: Listener,
    download_progress: Callable[[str], DownloadProgress] | None,
) -> BatchResult:
    """Do what is asked for; see `stemsplit.batch.api.separate`."""
    a_run = _Run(request, control, tell)
    found = find_tracks(request)
    has_journal = _has_journal(request)
    if not found.tracks and not has_journal:
        a_run.announce(0, found.problems, found)
        return a_run.conclude()
    # What cannot be is found out before anything is made, where there is no journal to heed.
    first = None if has_journal else plan_batch(found, request, None)
    with (
        held(request.state, a_run.note),
        Journal(request.state.journal, request.output) as journal,
    ):
        StatusFile(request.state).close()  # of a run that was killed
        a_run.tell_of(recover(journal, request.output, overwrite=request.overwrite))
        if first is None or journal.last_run() is not None:
            first = plan_batch(found, request, journal)
        places = {one.planned.job.destination_path.parent for one in first.tracks}
        sweep(journal, request.output, places)
        later = first.to_do(request.limit)[1]
        a_run.announce(len(first.tracks) - len(later), first.problems, found)
        for text in event_factory.left(first.untracked, first.left_out):
            a_run.note(text)
        to_do = a_run.sort_out(first)
        a_run.put_off(later)
        _enlist(journal, first, a_run.refused(), request)
        with _accounted_for(journal, a_run):
            if to_do:
                a_run.do(to_do, journal, download_progress)
        return a_run.conclude(journal)


def _has_journal(request: BatchRequest) -> bool:
    journal = JournalReader.read(request.state.journal, request.output)
    if journal is None:
        return False
    with journal:
        return True


def _enlist(
    journal: Journal,
    batch_plan: BatchPlan,
    refused: Sequence[events.TrackFailed],
    request: BatchRequest,
) -> None:
    """Begin a run in the journal, with all of its tracks."""
    states = {
        Action.DO: JobState.WAITING,
        Action.LEAVE: JobState.DONE,
        Action.LEAVE_FAILED: JobState.FAILED,
    }
    entries = []
    for one in batch_plan.tracks:
        action = one.decision.action
        if action in states and not one.is_untracked:
            entries.append(_entry(one, states[action], request))
    if batch_plan.looks:
        journal.remember(batch_plan.looks)
    journal.begin_run(
        request.settings,
        entries,
        version=request.version,
        unrecorded=batch_plan.untracked,
        refused=[(one.source, one.reason, one.message) for one in refused],
        overwrite=request.overwrite,
    )


def _entry(one: DecidedTrack, state: JobState, request: BatchRequest) -> Entry:
    agreed = None
    if request.overwrite and state is JobState.WAITING:
        below = places_below(one.planned.job, request.output)
        agreed = {below[stem]: mark for stem, mark in one.seen.marks.items()}
    return Entry(
        job=one.planned.job,
        wanted=wanted_of(one.planned, request.redo_policy),
        predicted_seconds=audio_seconds(one.planned.probe, request.settings),
        state=state,
        agreed=agreed,
    )


@contextlib.contextmanager
def _accounted_for(journal: Journal, a_run: _Run) -> Iterator[None]:
    """Close the journal's account of a run that is ended by an error."""
    try:
        yield
    except BaseException as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            is_interrupt = isinstance(error, KeyboardInterrupt)
            code = ExitCode.INTERRUPTED if is_interrupt else ExitCode.ERROR
        with contextlib.suppress(StemsplitError):  # it may be the journal itself that fails
            a_run.close(journal, int(code))
        raise


class _JournalRecorder:
    """Records each step of a track in the journal before it is taken."""

    def __init__(self, journal: Journal, *, preloaded: bool, overwrite: bool) -> None:
        self._journal = journal
        self._preloaded = preloaded
        self._overwrite = overwrite

    def attempt_begins(
        self, job: Job, settings: Settings, resources: Resources, number: int, staging_folder: Path
    ) -> None:
        """See `stemsplit.executors.track_task.AttemptRecorder`."""
        self._journal.attempt_begins(
            job,
            settings,
            resources,
            number=number,
            staging_folder=staging_folder,
            preloaded=self._preloaded,
        )

    def publishing(self, job: Job, coming: Sequence[Stem], result: Finished) -> bool:
        """See `stemsplit.executors.track_task.AttemptRecorder`; the next run completes it."""
        self._journal.publishing(job, coming, overwrite=self._overwrite, warnings=result.warnings)
        return True

    def taken_back(self, job: Job) -> None:
        """See `stemsplit.executors.track_task.AttemptRecorder`."""
        self._journal.taken_back(job)


class _Run:
    """The state of one run."""

    def __init__(self, request: BatchRequest, control: Control, tell: Listener) -> None:
        self._request = request
        self._control = control
        self._tell = tell
        self._began = time.monotonic()
        self._problems: tuple[Problem, ...] = ()
        self._unreadable: tuple[Problem, ...] = ()
        self._put_off: tuple[Job, ...] = ()
        self._skipped: list[Job] = []
        self._failed_earlier: list[tuple[Job, events.TrackFailed]] = []
        self._outcomes: list[Outcome] = []
        self._not_started: tuple[Job, ...] = ()
        self._late: tuple[Job, ...] = ()
        self._preloaded: dict[bytes, bool] = {}
        self._peak_memory_bytes: int | None = None
        self._damaged = 0
        self._stopped = False
        self._journal: Journal | None = None
        self._tracker: ProgressTracker | None = None
        self._early: list[str] | None = []

    def note(self, text: str) -> None:
        """Tell something about the whole, once the batch is announced."""
        if self._early is not None:
            self._early.append(text)
        else:
            self._tell(events.Note(text=text))

    def tell_of(self, recovery: Recovery) -> None:
        """Tell what a dead run has left, if it has left anything."""
        shown, dropped, stuck = recovery.shown, recovery.dropped, recovery.stuck
        parts = [f"{counted(shown, 'track')} put in place"] if shown else []
        parts += [f"{counted(dropped, 'track')} to be separated again"] if dropped else []
        parts += [f"{counted(stuck, 'track')} still half in place"] if stuck else []
        if parts:
            self.note(f"the last run did not end well: {', '.join(parts)}")

    def announce(self, tracks: int, problems: Sequence[Problem], found: Found) -> None:
        """Tell what there is, what was left out, and which inputs lead to nothing."""
        self._problems = tuple(problems)
        self._unreadable = tuple(found.unreadable)
        self._tell(event_factory.batch_started(self._request, tracks + len(problems)))
        early, self._early = self._early or [], None
        for text in early:
            self.note(text)
        if found.duplicates:
            self._tell(event_factory.duplicates(found.duplicates))
        for text in event_factory.left_out(found):
            self.note(text)
        for problem in problems:
            self._tell(event_factory.failed_input(problem))

    def sort_out(self, batch_plan: BatchPlan) -> list[PlannedTrack]:
        """Tell of the tracks that are not separated, and give the others."""
        for one in batch_plan.tracks:
            planned, decision = one.planned, one.decision
            match decision.action:
                case Action.LEAVE:
                    self._skipped.append(planned.job)
                    self._tell(event_factory.skipped(planned.job, decision.why))
                case Action.LEAVE_FAILED:
                    failed = event_factory.failed_earlier(planned.job, decision)
                    self._failed_earlier.append((planned.job, failed))
                    self._tell(failed)
                case Action.REFUSE:
                    refused = Outcome(
                        job=planned.job,
                        reason=Reason.OUTPUT_EXISTS,
                        message=decision.why,
                        remedy=decision.remedy,
                    )
                    self._outcomes.append(refused)
                    self._tell(event_factory.ended(refused))
        return batch_plan.to_do(self._request.limit)[0]

    def put_off(self, later: list[PlannedTrack]) -> None:
        """Leave tracks for another run, and say so."""
        self._put_off = tuple(one.job for one in later)
        if later:
            self.note(event_factory.put_off(len(later)))

    def do(
        self,
        planned: list[PlannedTrack],
        journal: Journal,
        download_progress: Callable[[str], DownloadProgress] | None,
    ) -> None:
        """Put every track through the pool; ends early if all further ones would fail alike."""
        request = self._request
        self._journal = journal
        check_writable(request.output)
        model_folder = weights_of(
            request.settings,
            published=request.cluster is not None,  # its nodes convert them for themselves
            progress=download_progress,
            note=self.note,
        )
        durations = {one.job.source: audio_seconds(one.probe, request.settings) for one in planned}
        sizes = {  # a guess at a length is no reason to stop for want of room
            one.job.source: stem_bytes(one.probe, request.settings, len(request.stems))
            for one in planned
            if one.probe.seconds is not None
        }
        with self._executor(planned, journal, model_folder, durations, sizes) as executor:
            self._work_through(planned, journal, executor, durations, sizes)

    def _executor(
        self,
        planned: list[PlannedTrack],
        journal: Journal,
        model_folder: Path | None,
        durations: Mapping[bytes, float],
        sizes: Mapping[bytes, int],
    ) -> Executor:
        request = self._request
        if request.cluster is None:
            past = journal.past(request.settings, preloaded=request.preloaded)
            return LocalExecutor(
                request,
                model_folder=model_folder,
                storage=storage_of([request.output, *(one.job.source for one in planned)]),
                tracks=len(planned),
                past=past,
            )
        from stemsplit.executors.ray_cluster.executor import ClusterExecutor

        def lost(job: Job) -> bool:
            return recover(journal, request.output, overwrite=True, job=job).shown > 0

        lengths = [whole_seconds(one.probe, request.settings) for one in planned]
        return ClusterExecutor(
            request,
            model_folder=model_folder,
            likely_seconds=durations,
            stem_bytes=sizes,
            longest_seconds=max((one for one in lengths if math.isfinite(one)), default=0.0),
            lost=lost,
            note=self.note,
        )

    def _work_through(
        self,
        planned: list[PlannedTrack],
        journal: Journal,
        executor: Executor,
        durations: Mapping[bytes, float],
        sizes: Mapping[bytes, int],
    ) -> None:
        request, plan = self._request, executor.plan
        self._tracker = tracker = ProgressTracker(
            durations,
            max_ram_bytes=plan.budget.total_bytes,
            predicted_seconds=predicted_seconds(planned, request, plan),
            run_seconds=journal.run_seconds,
        )
        board = StatusFile(request.state)

        def going_on(text: str) -> None:
            tracker.pausing = ""
            self.note(text)

        def show(*, at_once: bool = False) -> None:
            status = board.show(tracker.status, at_once=at_once)
            if status is not None:
                self._tell(events.BatchProgress(status=status))

        def pausing(text: str) -> None:
            tracker.pausing = text
            show(at_once=True)
            self.note(text)

        executor_pool = executor.executor_pool(
            self._gate(plan, durations, sizes, pausing, going_on)
        )
        recorder = _JournalRecorder(
            journal, preloaded=request.preloaded, overwrite=request.overwrite
        )
        pool = executor_pool.pool
        with (
            self._control.over(pool),
            awake(self.note) if request.keep_awake else contextlib.nullcontext(),
            executor_pool,
            contextlib.closing(pool.run()) as happenings,
            contextlib.closing(board),
        ):
            for one in planned:
                seconds = whole_seconds(one.probe, request.settings)
                pool.add(executor_pool.track_task(one.job, request.output, recorder, seconds))
            pool.close()
            self._tell(event_factory.pool_started(plan))
            if request.deadline is not None:
                self.note(f"nothing is started that would not end by {moment(request.deadline)}")
            journal.pool_starts(plan.budget.total_bytes)
            show()
            for happening in happenings:
                tracker.take_in(happening)
                self._take_in(happening)
                show()
                if self._stopped:
                    pool.drain()
        if self._control.stopped_by is not None:
            raise self._control.stopped_by
        self._not_started = tuple(track_task.job for track_task in pool.unstarted())
        self._late = tuple(track_task.job for track_task in pool.turned_away())
        self._peak_memory_bytes = pool.peak_memory_bytes

    def _gate(
        self,
        plan: PoolPlan,
        durations: Mapping[bytes, float],
        sizes: Mapping[bytes, int],
        pausing: Callable[[str], None],
        going_on: Callable[[str], None],
    ) -> Gate:
        request = self._request

        def stems_size(track_task: TrackTask) -> int:
            return sizes.get(track_task.job.source, 0)

        def predict(track_task: TrackTask, resources: Resources) -> float:
            return plan.forecast.seconds(durations[track_task.job.source], resources)

        gates: list[Gate] = []
        if request.deadline is not None:
            gates.append(Until(request.deadline, predict))
        if request.on_battery == "pause":
            gates.append(Power(pausing, going_on))
        if request.cluster is None and not is_remote(request.output):  # nodes ask for themselves
            gates.append(Room(request.output, stems_size, written_by))
        return Gates(gates)

    def _take_in(self, happening: PoolEvent) -> None:
        match happening:
            case MessageReceived(track_task=track_task, message=Hello(preloaded=preloaded)):
                self._preloaded[track_task.job.source] = preloaded
            case MessageReceived(track_task=track_task, message=Started() as started):
                preloaded = self._preloaded.pop(track_task.job.source, False)
                self._tell(event_factory.started(track_task.job, started, preloaded=preloaded))
            case MessageReceived(
                track_task=track_task, message=Progress(audio_seconds=seconds)
            ) if seconds > 0:
                source = printable(track_task.job.source)
                self._tell(events.TrackProgress(source=source, audio_seconds=seconds))
            case Retried(track_task=track_task, attempt=attempt, resources=resources):
                if self._journal is not None:
                    self._journal.attempt_ended(track_task.job, attempt)
                self._tell(event_factory.retried(track_task.job, attempt, resources))
            case TrackEnded(outcome=outcome):
                self._end(outcome)
            case Noted(text=text):
                self.note(text)

    def _end(self, outcome: Outcome) -> None:
        if self._journal is not None:
            self._journal.settled(outcome)
        self._outcomes.append(_without_curves(outcome))
        if outcome.reason.stops_batch and self._is_everywhere(outcome):
            self._stopped = True
        self._tell(event_factory.ended(outcome))

    def _is_everywhere(self, outcome: Outcome) -> bool:
        """Tell a folder that cannot be written from an output that cannot be written at all."""
        if outcome.reason is not Reason.UNWRITABLE:
            return True
        try:
            check_writable(self._request.output)
        except StemsplitError:
            return True
        return False

    def result(self) -> BatchResult:
        """Sum up for the caller."""
        return BatchResult(
            outcomes=tuple(self._outcomes),
            problems=self._problems,
            skipped=tuple(self._skipped),
            failed_earlier=tuple(job for job, _ in self._failed_earlier),
            not_started=self._not_started,
            late=self._late,
            put_off=self._put_off,
            unreadable=self._unreadable,
            stopped=self._stopped,
            drained=self._control.draining,
        )

    def summary(self, result: BatchResult, *, exit_code: int | None = None) -> events.BatchDone:
        """Sum up for whoever listens."""
        reasons = Counter(outcome.reason for outcome in result.outcomes)
        seconds = time.monotonic() - self._began
        audio_seconds = sum(outcome.audio_seconds for outcome in result.outcomes)
        failed = [event_factory.failed_input(one) for one in result.problems]
        failed += [event for _, event in self._failed_earlier]
        failed += [event_factory.failed(one) for one in result.failures]
        done = (one for one in result.outcomes if one.reason is Reason.DONE)
        warned = count_kinds(one.warnings for one in done)
        return events.BatchDone(
            done=reasons[Reason.DONE],
            skipped=len(result.skipped),
            failed=len(failed),
            not_started=len(result.not_started),
            late=len(result.late),
            put_off=len(result.put_off),
            unreadable=tuple(printable(one.path) for one in result.unreadable),
            seconds=seconds,
            audio_seconds=audio_seconds,
            peak_memory_bytes=self._peak_memory_bytes,
            times_real_time=audio_seconds / seconds if audio_seconds else None,
            damaged=warned[WarningKind.DAMAGED],
            clipped=warned[WarningKind.CLIPPED],
            notes=warned[WarningKind.NOTE],
            failures=tuple(
                events.Failure(source=one.source, reason=one.reason, message=one.message)
                for one in failed
            ),
            damages=tuple(event_factory.damage(result.outcomes)),
            damaged_earlier=max(self._damaged - warned[WarningKind.DAMAGED], 0),
            unshown=self._control.unshown,
            exit_code=int(result.exit_code if exit_code is None else exit_code),
        )

    def refused(self) -> list[events.TrackFailed]:
        """Give what failed without ever becoming a job of the journal."""
        refused = [one for one in self._outcomes if one.reason is Reason.OUTPUT_EXISTS]
        told = [event_factory.failed_input(one) for one in self._problems]
        return told + [event_factory.failed(one) for one in refused]

    def close(self, journal: Journal, exit_code: int) -> None:
        """Bring what was not finished in order, and close the journal's account."""
        recover(journal, self._request.output)
        memory = None if self._tracker is None else self._tracker.memory
        journal.end_run(self.summary(self.result(), exit_code=exit_code), memory)

    def conclude(self, journal: Journal | None = None) -> BatchResult:
        """Sum up in the journal, beside it, and for whoever listens."""
        result = self.result()
        if journal is not None:
            with contextlib.suppress(StemsplitError):
                self._damaged = journal.warned()[WarningKind.DAMAGED]
        summary = self.summary(result)
        if journal is not None:
            # A batch that was stopped by a full disk may not be able to write this either.
            with contextlib.suppress(StemsplitError):
                self.close(journal, summary.exit_code)
            with contextlib.suppress(OSError):
                self._request.state.write(
                    self._request.state.summary,
                    msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n",
                )
        self._tell(summary)
        return result


def _without_curves(outcome: Outcome) -> Outcome:
    """Leave out what only the journal keeps: there may be a hundred thousand of these."""
    return msgspec.structs.replace(
        outcome,
        stems=tuple(msgspec.structs.replace(stem, waveform_overview=b"") for stem in outcome.stems),
        attempts=tuple(msgspec.structs.replace(one, memory=None) for one in outcome.attempts),
    )

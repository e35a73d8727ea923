"""Runs in the supervisor. Emits the events of a running batch, and collects its result."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from stemsplit.batch import event_factory, events, notes
from stemsplit.batch.decisions import Action
from stemsplit.batch.result import BatchResult
from stemsplit.core.messages import Hello, Progress, Started
from stemsplit.core.outcome import Outcome, Reason, WarningKind, count_kinds
from stemsplit.core.text import counted, printable
from stemsplit.supervisor.pool_interface import MessageReceived, Noted, Retried, TrackEnded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stemsplit.batch.control import Control
    from stemsplit.batch.event_factory import Listener
    from stemsplit.batch.planning import BatchPlan
    from stemsplit.batch.request import BatchRequest
    from stemsplit.core.job import Job
    from stemsplit.library.destinations import PlannedTrack
    from stemsplit.library.scan import ScanResult
    from stemsplit.library.tracks import Problem
    from stemsplit.supervisor.pool_interface import PoolEvent, WorkerPool


class BatchReporter:
    """Emits events and collects the result of one batch.

    Attributes:
        emit: called with each event.
        has_stopped: whether all further tracks would fail alike.
    """

    def __init__(self, request: BatchRequest, control: Control, emit: Listener) -> None:
        """Emit nothing yet; `draining` and `unshown` of `control` become part of the result."""
        self._request = request
        self._control = control
        self.emit = emit
        self._began = time.monotonic()
        self._problems: tuple[Problem, ...] = ()
        self._unreadable: tuple[Problem, ...] = ()
        self._postponed: tuple[Job, ...] = ()
        self._skipped: list[Job] = []
        self._failed_earlier: list[tuple[Job, events.TrackFailed]] = []
        self._outcomes: list[Outcome] = []
        self._not_started: tuple[Job, ...] = ()
        self._late: tuple[Job, ...] = ()
        self._preloaded: dict[bytes, bool] = {}
        self._peak_memory_bytes: int | None = None
        self._notes_before_start: list[str] | None = []
        self.has_stopped = False

    def note(self, text: str) -> None:
        """Emit a note about the batch as a whole; before `batch_started`, hold it back."""
        if self._notes_before_start is not None:
            self._notes_before_start.append(text)
        else:
            self.emit(events.Note(text=text))

    def start(self, tracks: int, problems: Sequence[Problem], found: ScanResult) -> None:
        """Emit `batch_started`, the notes so far and the problems.

        `tracks` is the number of tracks, without those that a limit leaves for another run.
        """
        self._problems = tuple(problems)
        self._unreadable = tuple(found.unreadable)
        self.emit(event_factory.batch_started(self._request, tracks + len(problems)))
        held, self._notes_before_start = self._notes_before_start or [], None
        for text in (*held, *notes.scan_notes(found)):
            self.note(text)
        for problem in problems:
            self.emit(event_factory.input_failed(problem))

    def report_decisions(self, batch_plan: BatchPlan) -> None:
        """Emit the notes about a plan, and an event for each track that is not separated."""
        for text in notes.plan_notes(batch_plan):
            self.note(text)
        for track in batch_plan.tracks:
            job, decision = track.planned.job, track.decision
            match decision.action:
                case Action.SKIP:
                    self._skipped.append(job)
                    self.emit(event_factory.track_skipped(job, decision.why))
                case Action.SKIP_FAILED:
                    failed = event_factory.track_failed_earlier(job, decision)
                    self._failed_earlier.append((job, failed))
                    self.emit(failed)
                case Action.REFUSE:
                    refused = Outcome(
                        job=job,
                        reason=Reason.OUTPUT_EXISTS,
                        message=decision.why,
                        remedy=decision.remedy,
                    )
                    self._outcomes.append(refused)
                    self.emit(event_factory.track_failed(refused))

    def report_postponed(self, tracks: Sequence[PlannedTrack]) -> None:
        """Emit how many tracks a limit leaves for another run."""
        self._postponed = tuple(track.job for track in tracks)
        if tracks:
            self.note(f"{counted(len(tracks), 'track')} left for another run by --limit")

    def report_pool_event(self, event: PoolEvent) -> None:
        """Emit the event that corresponds to an event of the pool, if there is one."""
        match event:
            case MessageReceived(track_task=task, message=Hello(preloaded=preloaded)):
                self._preloaded[task.job.source] = preloaded
            case MessageReceived(track_task=task, message=Started() as started):
                preloaded = self._preloaded.pop(task.job.source, False)
                self.emit(event_factory.track_started(task.job, started, preloaded=preloaded))
            case MessageReceived(track_task=task, message=Progress(audio_seconds=seconds)) if (
                seconds > 0
            ):
                source = printable(task.job.source)
                self.emit(events.TrackProgress(source=source, audio_seconds=seconds))
            case Retried(track_task=task, attempt=attempt, resources=resources):
                self.emit(event_factory.track_retried(task.job, attempt, resources))
            case TrackEnded(outcome=outcome):
                self._outcomes.append(_without_time_series(outcome))
                self.emit(event_factory.track_ended(outcome))
            case Noted(text=text):
                self.note(text)

    def collect_unstarted(self, pool: WorkerPool) -> None:
        """Collect the tracks that a pool has not started, and its peak memory."""
        self._not_started = tuple(task.job for task in pool.unstarted())
        self._late = tuple(task.job for task in pool.rejected())
        self._peak_memory_bytes = pool.peak_memory_bytes

    def refused(self) -> list[events.TrackFailed]:
        """Return the failures that never became a job in the journal."""
        refused = [outcome for outcome in self._outcomes if outcome.reason is Reason.OUTPUT_EXISTS]
        return [
            *map(event_factory.input_failed, self._problems),
            *map(event_factory.track_failed, refused),
        ]

    def result(self) -> BatchResult:
        """Return the result so far."""
        return BatchResult(
            outcomes=tuple(self._outcomes),
            problems=self._problems,
            skipped=tuple(self._skipped),
            failed_earlier=tuple(job for job, _ in self._failed_earlier),
            not_started=self._not_started,
            late=self._late,
            put_off=self._postponed,
            unreadable=self._unreadable,
            stopped=self.has_stopped,
            drained=self._control.draining,
        )

    def summary(self, *, exit_code: int | None = None, damaged_tracks: int = 0) -> events.BatchDone:
        """Return the summary so far.

        Args:
            exit_code: of the command; None for that of the result.
            damaged_tracks: number of tracks with a damage warning, skipped ones included.
        """
        result = self.result()
        reasons = Counter(outcome.reason for outcome in result.outcomes)
        seconds = time.monotonic() - self._began
        audio_seconds = sum(outcome.audio_seconds for outcome in result.outcomes)
        failures = [
            *map(event_factory.input_failed, result.problems),
            *(event for _, event in self._failed_earlier),
            *map(event_factory.track_failed, result.failures),
        ]
        done = (outcome for outcome in result.outcomes if outcome.reason is Reason.DONE)
        warned = count_kinds(outcome.warnings for outcome in done)
        return events.BatchDone(
            done=reasons[Reason.DONE],
            skipped=len(result.skipped),
            failed=len(failures),
            not_started=len(result.not_started),
            late=len(result.late),
            put_off=len(result.put_off),
            unreadable=tuple(printable(folder.path) for folder in result.unreadable),
            seconds=seconds,
            audio_seconds=audio_seconds,
            peak_memory_bytes=self._peak_memory_bytes,
            times_real_time=audio_seconds / seconds if audio_seconds else None,
            damaged=warned[WarningKind.DAMAGED],
            clipped=warned[WarningKind.CLIPPED],
            notes=warned[WarningKind.NOTE],
            failures=tuple(
                events.Failure(source=event.source, reason=event.reason, message=event.message)
                for event in failures
            ),
            damages=tuple(event_factory.damages(result.outcomes)),
            damaged_earlier=max(damaged_tracks - warned[WarningKind.DAMAGED], 0),
            unshown=self._control.unshown,
            exit_code=int(result.exit_code if exit_code is None else exit_code),
        )

    def finish(self, summary: events.BatchDone) -> BatchResult:
        """Emit `batch_done`, and return the result."""
        self.emit(summary)
        return self.result()


def _without_time_series(outcome: Outcome) -> Outcome:
    """Drop what only the journal keeps; a batch may have a hundred thousand outcomes."""
    return msgspec.structs.replace(
        outcome,
        stems=tuple(msgspec.structs.replace(stem, waveform_overview=b"") for stem in outcome.stems),
        attempts=tuple(
            msgspec.structs.replace(attempt, memory=None) for attempt in outcome.attempts
        ),
    )

"""Runs in the supervisor. Runs the tracks of a batch through an executor's pool.

Passes each event of the pool to the journal first, then to the reporter.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

from stemsplit.batch import event_factory, events
from stemsplit.batch.estimates import (
    estimated_audio_seconds,
    estimated_stem_bytes,
    known_audio_seconds,
    predicted_batch_seconds,
)
from stemsplit.batch.journal_recording import JournalRecorder
from stemsplit.batch.progress_tracker import ProgressTracker
from stemsplit.core.errors import StemsplitError
from stemsplit.core.outcome import Reason
from stemsplit.core.text import moment
from stemsplit.executors.keep_awake import keep_awake
from stemsplit.executors.local import LocalExecutor
from stemsplit.executors.plan_local_pool import storage_modules
from stemsplit.executors.start_gates import PowerGate, make_gate
from stemsplit.journal.recovery import recover
from stemsplit.journal.status_file import StatusFile
from stemsplit.models.weight_forms import ensure_weights
from stemsplit.storage.publish import check_writable
from stemsplit.supervisor.pool_interface import Retried, TrackEnded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from stemsplit.batch.control import Control
    from stemsplit.batch.reporter import BatchReporter
    from stemsplit.batch.request import BatchRequest
    from stemsplit.core.job import Job
    from stemsplit.core.outcome import Outcome
    from stemsplit.core.time_series import TimeSeries
    from stemsplit.executors.base import Executor
    from stemsplit.journal.writer import Journal
    from stemsplit.library.destinations import PlannedTrack
    from stemsplit.models.download import Progress as DownloadProgress
    from stemsplit.supervisor.pool_interface import Gate, PoolEvent
    from stemsplit.supervisor.pool_plan import PoolPlan


class BatchExecution:
    """The execution of one batch, on this machine or on a cluster."""

    def __init__(
        self,
        request: BatchRequest,
        tracks: Sequence[PlannedTrack],
        control: Control,
        reporter: BatchReporter,
        journal: Journal,
    ) -> None:
        """Start nothing yet; `tracks` are to be separated in order."""
        self._request = request
        self._tracks = tracks
        self._control = control
        self._reporter = reporter
        self._journal = journal
        self._status_file = StatusFile(request.layout)
        self._tracker: ProgressTracker | None = None
        self._audio_seconds = {
            track.job.source: estimated_audio_seconds(track.probe, request.settings)
            for track in tracks
        }
        self._stem_bytes = {  # a guessed length must not end a batch for lack of disk space
            track.job.source: estimated_stem_bytes(track.probe, request.settings)
            for track in tracks
            if track.probe.seconds is not None
        }

    @property
    def memory(self) -> TimeSeries | None:
        """Memory of all processes together, in bytes; None if no pool was started."""
        return None if self._tracker is None else self._tracker.memory

    def run(self, download_progress: Callable[[str], DownloadProgress] | None) -> None:
        """Separate all tracks; drain the pool if all further tracks would fail alike.

        Raises:
            StemsplitError: if no track can be started.
            BaseException: the error that the batch was stopped with.
        """
        check_writable(self._request.output)
        model_folder = ensure_weights(
            self._request.settings,
            published_only=self._request.cluster is not None,  # nodes convert weights themselves
            progress=download_progress,
            note=self._reporter.note,
        )
        with self._executor(model_folder) as executor:
            self._run_pool(executor)

    def _executor(self, model_folder: Path | None) -> Executor:
        request = self._request
        if request.cluster is None:
            return LocalExecutor(
                request,
                model_folder=model_folder,
                storage=storage_modules(
                    [self._request.output, *(track.job.source for track in self._tracks)]
                ),
                tracks=len(self._tracks),
                past=self._journal.past_attempts(request.settings, preloaded=request.preloaded),
            )
        from stemsplit.executors.ray_cluster.executor import ClusterExecutor

        lengths = [known_audio_seconds(track.probe, request.settings) for track in self._tracks]
        return ClusterExecutor(
            request,
            model_folder=model_folder,
            likely_seconds=self._audio_seconds,
            stem_bytes=self._stem_bytes,
            longest_seconds=max(filter(math.isfinite, lengths), default=0.0),
            recover_track=self._recover_lost_track,
            note=self._reporter.note,
        )

    def _recover_lost_track(self, job: Job) -> bool:
        """Recover the track of a lost node; return whether its stems are published."""
        return recover(self._journal, self._request.output, overwrite=True, job=job).published > 0

    def _run_pool(self, executor: Executor) -> None:
        request, reporter, plan = self._request, self._reporter, executor.plan
        self._tracker = tracker = ProgressTracker(
            self._audio_seconds,
            max_ram_bytes=plan.budget.total_bytes,
            predicted_seconds=predicted_batch_seconds(self._tracks, request.settings, plan),
            run_seconds=self._journal.run_seconds,
        )
        recorder = JournalRecorder(
            self._journal, preloaded=request.preloaded, overwrite=request.overwrite
        )
        executor_pool = executor.open_pool(self._gate(plan, tracker))
        pool = executor_pool.pool
        with (
            self._control.controlling(pool),
            keep_awake(reporter.note) if request.keep_awake else contextlib.nullcontext(),
            executor_pool,
            contextlib.closing(pool.run()) as pool_events,
            contextlib.closing(self._status_file),
        ):
            for track in self._tracks:
                seconds = known_audio_seconds(track.probe, request.settings)
                pool.add(
                    executor_pool.make_task(track.job, self._request.output, recorder, seconds)
                )
            pool.close()
            reporter.emit(event_factory.pool_started(plan))
            if request.deadline is not None:
                reporter.note(f"no track starts that cannot finish by {moment(request.deadline)}")
            self._journal.record_memory_budget(plan.budget.total_bytes)
            self._report_status(tracker)
            for event in pool_events:
                tracker.update(event)
                self._record(event)
                reporter.report_pool_event(event)
                self._report_status(tracker)
                if reporter.has_stopped:
                    pool.drain()
        if self._control.stopped_by is not None:
            raise self._control.stopped_by
        reporter.collect_unstarted(pool)

    def _gate(self, plan: PoolPlan, tracker: ProgressTracker) -> Gate:
        def on_pause(text: str) -> None:
            tracker.pausing = text
            self._report_status(tracker, at_once=True)
            self._reporter.note(text)

        def on_resume(text: str) -> None:
            tracker.pausing = ""
            self._reporter.note(text)

        return make_gate(
            self._request,
            plan.forecast,
            audio_seconds=lambda task: self._audio_seconds[task.job.source],
            stem_bytes=lambda task: self._stem_bytes.get(task.job.source, 0),
            power=PowerGate(on_pause, on_resume) if self._request.on_battery == "pause" else None,
        )

    def _report_status(self, tracker: ProgressTracker, *, at_once: bool = False) -> None:
        """Write and emit the status, at most once a second unless `at_once`."""
        status = self._status_file.update(tracker.status, at_once=at_once)
        if status is not None:
            self._reporter.emit(events.BatchProgress(status=status))

    def _record(self, event: PoolEvent) -> None:
        match event:
            case Retried(track_task=task, attempt=attempt):
                self._journal.end_attempt(task.job, attempt)
            case TrackEnded(outcome=outcome):
                self._journal.record_outcome(outcome)
                if outcome.reason.stops_batch and self._affects_all_tracks(outcome):
                    self._reporter.has_stopped = True

    def _affects_all_tracks(self, outcome: Outcome) -> bool:
        """Return whether the failure affects all tracks: one folder alone may be read-only."""
        if outcome.reason is not Reason.UNWRITABLE:
            return True
        try:
            check_writable(self._request.output)
        except StemsplitError:
            return True
        return False

"""Runs in the supervisor. Records a batch in the journal: its tracks and attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.batch.decisions import Action, wanted_of
from stemsplit.batch.estimates import estimated_audio_seconds
from stemsplit.journal.job_records import JobEntry, JobState, stem_paths

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stemsplit.batch.events import TrackFailed
    from stemsplit.batch.planning import BatchPlan, DecidedTrack
    from stemsplit.batch.request import BatchRequest
    from stemsplit.core.job import Job
    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Finished
    from stemsplit.core.settings import Settings
    from stemsplit.journal.stem_records import Stem
    from stemsplit.journal.writer import Journal

_STATES = {
    Action.SEPARATE: JobState.WAITING,
    Action.SKIP: JobState.DONE,
    Action.SKIP_FAILED: JobState.FAILED,
}


def begin_run(
    journal: Journal, batch_plan: BatchPlan, refused: Sequence[TrackFailed], request: BatchRequest
) -> None:
    """Begin a run in the journal, with all of its tracks; `refused` are failures without a job."""
    if batch_plan.new_probes:
        journal.record_probes(batch_plan.new_probes)
    journal.begin_run(
        request.settings,
        [
            _entry(track, request)
            for track in batch_plan.tracks
            if track.decision.action in _STATES and not track.has_untracked_files
        ],
        version=request.version,
        unrecorded=batch_plan.untracked,
        refused=[(event.source, event.reason, event.message) for event in refused],
        overwrite=request.overwrite,
    )


def _entry(track: DecidedTrack, request: BatchRequest) -> JobEntry:
    planned, state = track.planned, _STATES[track.decision.action]
    replaceable = None
    if request.overwrite and state is JobState.WAITING:
        paths = stem_paths(planned.job, request.output)
        replaceable = {
            paths[stem]: fingerprint for stem, fingerprint in track.existing.fingerprints.items()
        }
    return JobEntry(
        job=planned.job,
        wanted=wanted_of(planned, request.redo_policy),
        predicted_seconds=estimated_audio_seconds(planned.probe, request.settings),
        state=state,
        replaceable=replaceable,
    )


class JournalRecorder:
    """Records each step of a track in the journal before it happens.

    Implements `stemsplit.executors.track_task.AttemptRecorder`.
    """

    def __init__(self, journal: Journal, *, preloaded: bool, overwrite: bool) -> None:
        """Record nothing yet; `overwrite` permits stems to replace any file."""
        self._journal = journal
        self._preloaded = preloaded
        self._overwrite = overwrite

    def begin_attempt(
        self, job: Job, settings: Settings, resources: Resources, number: int, staging_folder: Path
    ) -> None:
        """Record that a child is about to start."""
        self._journal.begin_attempt(
            job,
            settings,
            resources,
            number=number,
            staging_folder=staging_folder,
            preloaded=self._preloaded,
        )

    def begin_publishing(self, job: Job, pending: Sequence[Stem], result: Finished) -> bool:
        """Record that stems are about to be published; the next run completes it if needed."""
        self._journal.begin_publishing(
            job, pending, overwrite=self._overwrite, warnings=result.warnings
        )
        return True

    def cancel_publishing(self, job: Job) -> None:
        """Record that no stem was published."""
        self._journal.cancel_publishing(job)

"""Runs in the supervisor. Reports what a batch would do, without doing it."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import time
from typing import TYPE_CHECKING

from stemsplit.batch import event_factory, events, notes
from stemsplit.batch.decisions import Action, Decision
from stemsplit.batch.estimates import (
    estimated_audio_seconds,
    estimated_stem_bytes,
    known_audio_seconds,
    predicted_batch_seconds,
    predicted_track_seconds,
)
from stemsplit.batch.planning import find_tracks, plan_batch
from stemsplit.batch.result import BatchResult
from stemsplit.core.text import printable
from stemsplit.executors.plan_local_pool import plan_pool
from stemsplit.journal.reader import JournalReader
from stemsplit.storage.urls import is_remote
from stemsplit.storage.write_errors import write_error
from stemsplit.supervisor.host_resources import host_memory, limiting_groups
from stemsplit.supervisor.prediction import SUPERVISOR_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stemsplit.batch.event_factory import Listener
    from stemsplit.batch.request import BatchRequest
    from stemsplit.library.destinations import PlannedTrack
    from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
    from stemsplit.supervisor.pool_plan import PoolPlan

_POSTPONED = Decision(action=Action.SKIP, why="left for another run by --limit")


def dry_run_batch(request: BatchRequest, emit: Listener) -> BatchResult:
    """Report what a batch would do: each track, then the whole batch.

    Reads the journal if there is one, even while another run writes it. Writes nothing.

    Raises:
        StemsplitError: as `stemsplit.batch.api.separate` does.
    """
    found = find_tracks(request)
    with contextlib.ExitStack() as stack:
        journal = JournalReader.open_existing(request.layout.journal, request.output)
        if journal is not None:
            stack.enter_context(journal)
        batch_plan = plan_batch(found, request, journal, recovered=False)
        past = (
            journal.past_attempts(request.settings, preloaded=request.preloaded) if journal else []
        )
    tracks, postponed = batch_plan.split_at(request.limit)
    plan = plan_pool(
        request.settings,
        request.limits,
        jobs=request.jobs,
        tracks=len(tracks) or None,
        preloaded=request.preloaded,
        past=past,
    )
    count = len(batch_plan.tracks) - len(postponed) + len(batch_plan.problems)
    emit(event_factory.batch_started(request, count))
    for text in (*notes.scan_notes(found), *notes.plan_notes(batch_plan)):
        emit(events.Note(text=text))
    oversized = _oversized(tracks, request, plan)
    tracks = [track for track in tracks if track.job.source not in oversized]
    postponed_sources = {track.job.source for track in postponed}
    for track in batch_plan.tracks:
        planned, decision = track.planned, track.decision
        diagnosis = oversized.get(planned.job.source)
        if planned.job.source in postponed_sources:
            decision = _POSTPONED
        elif diagnosis is not None:
            decision = Decision(
                action=Action.REFUSE, why=diagnosis.message, remedy=diagnosis.remedy
            )
        action = "put_off" if decision is _POSTPONED else decision.action.value
        emit(_track_planned(planned, decision, request, plan, action))
    for problem in batch_plan.problems:
        emit(event_factory.input_failed(problem))
    result = BatchResult(
        problems=tuple(batch_plan.problems),
        skipped=tuple(track.job for track in batch_plan.with_action(Action.SKIP)),
        failed_earlier=tuple(
            track.planned.job
            for track in batch_plan.tracks
            if track.decision.action in {Action.SKIP_FAILED, Action.REFUSE}
            or track.planned.job.source in oversized
        ),
        put_off=tuple(track.job for track in postponed),
        unreadable=tuple(found.unreadable),
    )
    seconds = [estimated_audio_seconds(track.probe, request.settings) for track in tracks]
    footprint = plan.forecast.footprint(plan.concurrency.resources, max(seconds, default=0.0))
    emit(
        events.PlanMade(
            separate=len(tracks),
            leave=len(result.skipped),
            leave_failed=len(batch_plan.with_action(Action.SKIP_FAILED)),
            refuse=len(batch_plan.with_action(Action.REFUSE)) + len(oversized),
            problems=len(batch_plan.problems),
            put_off=len(postponed),
            unreadable=tuple(printable(folder.path) for folder in found.unreadable),
            audio_seconds=sum(seconds),
            predicted_seconds=predicted_batch_seconds(tracks, request.settings, plan),
            predicted_bytes=sum(
                estimated_stem_bytes(track.probe, request.settings) for track in tracks
            ),
            free_bytes=_free_bytes(request.output),
            predicted_memory_bytes=SUPERVISOR_BYTES
            + footprint.shared_bytes
            + footprint.private_bytes * plan.concurrency.workers,
            max_ram_bytes=plan.budget.total_bytes,
            jobs=plan.concurrency.workers,
            threads=plan.concurrency.resources.threads,
            until=request.deadline,
            ends_in_time=_ends_in_time(tracks, plan, request),
            exit_code=result.exit_code,
        )
    )
    return result


def _oversized(
    tracks: Sequence[PlannedTrack], request: BatchRequest, plan: PoolPlan
) -> dict[bytes, ExitDiagnosis]:
    """Return the tracks that would not start because they can never fit into memory, by source."""
    host = functools.cache(lambda: host_memory(limiting_groups()))
    refusals = {
        track.job.source: plan.refusal(
            plan.concurrency.resources, known_audio_seconds(track.probe, request.settings), host
        )
        for track in tracks
    }
    return {source: diagnosis for source, diagnosis in refusals.items() if diagnosis is not None}


def _track_planned(
    track: PlannedTrack, decision: Decision, request: BatchRequest, plan: PoolPlan, action: str
) -> events.TrackPlanned:
    separates = decision.action is Action.SEPARATE
    return events.TrackPlanned(
        source=printable(track.job.source),
        destination=printable(track.job.destination),
        paths=tuple(printable(path) for path in track.job.paths.values()),
        action=action,
        why=" ".join(f"{decision.why} {decision.remedy}".split()),
        audio_seconds=track.probe.seconds,
        predicted_seconds=predicted_track_seconds(track, request.settings, plan)
        if separates
        else None,
        predicted_bytes=estimated_stem_bytes(track.probe, request.settings) if separates else None,
    )


def _ends_in_time(
    tracks: Sequence[PlannedTrack], plan: PoolPlan, request: BatchRequest
) -> int | None:
    """Return how many tracks are predicted to end before the deadline, started in order."""
    if request.deadline is None:
        return None
    free_at = [time.time()] * plan.concurrency.workers
    count = 0
    for track in tracks:
        worker = free_at.index(min(free_at))
        end = free_at[worker] + predicted_track_seconds(track, request.settings, plan)
        if end <= request.deadline:
            free_at[worker] = end
            count += 1
    return count


def _free_bytes(output: Path) -> int | None:
    """Return the free space on the output folder's disk, None if the output is remote.

    Raises:
        UnwritableError: if the folder cannot be created or written.
    """
    if is_remote(output):
        return None
    existing = next(folder for folder in (output, *output.parents) if folder.exists())
    if not existing.is_dir():
        raise write_error(output, NotADirectoryError())
    if not os.access(existing, os.W_OK):
        raise write_error(existing, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return shutil.disk_usage(existing).free

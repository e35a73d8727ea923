"""Runs in the supervisor. What a batch would do, told and not done."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import time
from typing import TYPE_CHECKING

import msgspec

from stemsplit.batch import event_factory, events
from stemsplit.batch.decisions import Action, Decision
from stemsplit.batch.planning import (
    audio_seconds,
    find_tracks,
    plan_batch,
    stem_bytes,
    whole_seconds,
)
from stemsplit.batch.result import BatchResult
from stemsplit.core.text import printable
from stemsplit.executors.pool_planning import plan_pool
from stemsplit.journal.reader import JournalReader
from stemsplit.storage.publish import refused
from stemsplit.storage.remote import is_remote
from stemsplit.supervisor.host import host_memory, limiting_groups
from stemsplit.supervisor.prediction import SUPERVISOR_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.batch.event_factory import Listener
    from stemsplit.batch.request import BatchRequest
    from stemsplit.library.destinations import PlannedTrack
    from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
    from stemsplit.supervisor.pool_plan import PoolPlan

_NAMES = {
    Action.DO: "separate",
    Action.LEAVE: "leave",
    Action.LEAVE_FAILED: "leave_failed",
    Action.REFUSE: "refuse",
}


def preview(request: BatchRequest, tell: Listener) -> BatchResult:
    """Tell what a batch would do: each track, then the whole.

    Reads the journal if there is one, also while another run is writing it. Writes nothing.

    Raises:
        as `stemsplit.batch.api.separate`.
    """
    found = find_tracks(request)
    with contextlib.ExitStack() as stack:
        journal = JournalReader.read(request.state.journal, request.output)
        if journal is not None:
            stack.enter_context(journal)
        batch_plan = plan_batch(found, request, journal, recovered=False)
        past = journal.past(request.settings, preloaded=request.preloaded) if journal else []
    to_do, later = batch_plan.to_do(request.limit)
    plan = plan_pool(
        request.settings,
        request.limits,
        jobs=request.jobs,
        tracks=len(to_do) or None,
        preloaded=request.preloaded,
        past=past,
    )
    tracks = len(batch_plan.tracks) - len(later) + len(batch_plan.problems)
    tell(event_factory.batch_started(request, tracks))
    if found.duplicates:
        tell(event_factory.duplicates(found.duplicates))
    for text in event_factory.left_out(found):
        tell(events.Note(text=text))
    refused = _refused(to_do, request, plan)
    to_do = [one for one in to_do if one.job.source not in refused]
    for text in event_factory.left(batch_plan.untracked, batch_plan.left_out):
        tell(events.Note(text=text))
    put_off = {one.job.source for one in later}
    for one in batch_plan.tracks:
        diagnosis = refused.get(one.planned.job.source)
        decision = one.decision
        if one.planned.job.source in put_off:
            decision = Decision(action=Action.LEAVE, why="left for another run by --limit")
            planned = _planned(one.planned, decision, request, plan)
            tell(msgspec.structs.replace(planned, action="put_off"))
            continue
        if diagnosis is not None:
            decision = Decision(
                action=Action.REFUSE, why=diagnosis.message, remedy=diagnosis.remedy
            )
        tell(_planned(one.planned, decision, request, plan))
    for problem in batch_plan.problems:
        tell(event_factory.failed_input(problem))
    result = BatchResult(
        problems=tuple(batch_plan.problems),
        skipped=tuple(one.job for one in batch_plan.of(Action.LEAVE)),
        failed_earlier=tuple(
            one.planned.job
            for one in batch_plan.tracks
            if one.decision.action in {Action.LEAVE_FAILED, Action.REFUSE}
            or one.planned.job.source in refused
        ),
        put_off=tuple(one.job for one in later),
        unreadable=tuple(found.unreadable),
    )
    longest = max((audio_seconds(one.probe, request.settings) for one in to_do), default=0.0)
    footprint = plan.forecast.footprint(plan.concurrency.resources, longest)
    tell(
        events.PlanMade(
            separate=len(to_do),
            leave=len(result.skipped),
            leave_failed=len(batch_plan.of(Action.LEAVE_FAILED)),
            refuse=len(batch_plan.of(Action.REFUSE)) + len(refused),
            problems=len(batch_plan.problems),
            put_off=len(later),
            unreadable=tuple(printable(one.path) for one in found.unreadable),
            audio_seconds=sum(audio_seconds(one.probe, request.settings) for one in to_do),
            predicted_seconds=predicted_seconds(to_do, request, plan),
            predicted_bytes=sum(_bytes(one, request) for one in to_do),
            free_bytes=_free_bytes(request.output),
            predicted_memory_bytes=SUPERVISOR_BYTES
            + footprint.shared_bytes
            + footprint.private_bytes * plan.concurrency.workers,
            max_ram_bytes=plan.budget.total_bytes,
            jobs=plan.concurrency.workers,
            threads=plan.concurrency.resources.threads,
            until=request.deadline,
            ends_in_time=_ends_in_time(to_do, plan, request),
            exit_code=result.exit_code,
        )
    )
    return result


def _refused(
    to_do: list[PlannedTrack], request: BatchRequest, plan: PoolPlan
) -> dict[bytes, ExitDiagnosis]:
    """Find the tracks that would not be started because as a whole they can never fit."""
    host = functools.cache(lambda: host_memory(limiting_groups()))
    verdicts = {
        one.job.source: plan.refusal(
            plan.concurrency.resources, whole_seconds(one.probe, request.settings), host
        )
        for one in to_do
    }
    return {source: diagnosis for source, diagnosis in verdicts.items() if diagnosis is not None}


def predicted_seconds(planned: list[PlannedTrack], request: BatchRequest, plan: PoolPlan) -> float:
    """Predict the time of a batch: of its children together, so many at once."""
    children = [_seconds(one, request, plan) for one in planned]
    return max(sum(children) / plan.concurrency.workers, max(children, default=0.0))


def _seconds(planned: PlannedTrack, request: BatchRequest, plan: PoolPlan) -> float:
    seconds = audio_seconds(planned.probe, request.settings)
    return plan.forecast.seconds(seconds, plan.concurrency.resources)


def _bytes(planned: PlannedTrack, request: BatchRequest) -> int:
    return stem_bytes(planned.probe, request.settings, len(request.stems))


def _planned(
    planned: PlannedTrack, decision: Decision, request: BatchRequest, plan: PoolPlan
) -> events.TrackPlanned:
    do = decision.action is Action.DO
    return events.TrackPlanned(
        source=printable(planned.job.source),
        destination=printable(planned.job.destination),
        paths=tuple(printable(path) for path in planned.job.paths.values()),
        action=_NAMES[decision.action],
        why=" ".join(f"{decision.why} {decision.remedy}".split()),
        audio_seconds=planned.probe.seconds,
        predicted_seconds=_seconds(planned, request, plan) if do else None,
        predicted_bytes=_bytes(planned, request) if do else None,
    )


def _ends_in_time(to_do: list[PlannedTrack], plan: PoolPlan, request: BatchRequest) -> int | None:
    """Count the tracks that are predicted to end before the deadline, going on in order."""
    if request.deadline is None:
        return None
    free_at = [time.time()] * plan.concurrency.workers
    count = 0
    for one in to_do:
        first = free_at.index(min(free_at))
        end = free_at[first] + _seconds(one, request, plan)
        if end <= request.deadline:
            free_at[first] = end
            count += 1
    return count


def _free_bytes(output: Path) -> int | None:
    """Ask the disk, and find out whether the folder could be made and written.

    Raises:
        UnwritableError: if not.
    """
    if is_remote(output):
        return None
    there = next(folder for folder in (output, *output.parents) if folder.exists())
    if not there.is_dir():
        raise refused(output, NotADirectoryError())
    if not os.access(there, os.W_OK):
        raise refused(there, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return shutil.disk_usage(there).free

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
from stemsplit.batch.planning import audio_seconds, find_tracks, prepare, stem_bytes, whole_seconds
from stemsplit.batch.result import BatchResult
from stemsplit.core.text import printable
from stemsplit.executors.pool_planning import make_plan
from stemsplit.journal.reader import JournalReader
from stemsplit.storage.publish import refused
from stemsplit.storage.remote import is_remote
from stemsplit.supervisor.host import host_memory, limiting_groups
from stemsplit.supervisor.prediction import SUPERVISOR_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.batch.event_factory import Listener
    from stemsplit.batch.request import Brief
    from stemsplit.library.destinations import Placed
    from stemsplit.supervisor.exit_diagnosis import Verdict
    from stemsplit.supervisor.pool_plan import Plan

_NAMES = {
    Action.DO: "separate",
    Action.LEAVE: "leave",
    Action.LEAVE_FAILED: "leave_failed",
    Action.REFUSE: "refuse",
}


def preview(brief: Brief, tell: Listener) -> BatchResult:
    """Tell what a batch would do: each track, then the whole.

    Reads the journal if there is one, also while another run is writing it. Writes nothing.

    Raises:
        as `stemsplit.batch.api.separate`.
    """
    found = find_tracks(brief)
    with contextlib.ExitStack() as stack:
        journal = JournalReader.read(brief.state.journal, brief.output)
        if journal is not None:
            stack.enter_context(journal)
        prepared = prepare(found, brief, journal, recovered=False)
        past = journal.past(brief.settings, preloaded=brief.preloaded) if journal else []
    to_do, later = prepared.to_do(brief.limit)
    plan = make_plan(
        brief.settings,
        brief.limits,
        jobs=brief.jobs,
        tracks=len(to_do) or None,
        preloaded=brief.preloaded,
        past=past,
    )
    tracks = len(prepared.tracks) - len(later) + len(prepared.problems)
    tell(event_factory.batch_started(brief, tracks))
    if found.duplicates:
        tell(event_factory.duplicates(found.duplicates))
    for text in event_factory.left_out(found):
        tell(events.Note(text=text))
    refused = _refused(to_do, brief, plan)
    to_do = [one for one in to_do if one.job.source not in refused]
    for text in event_factory.left(prepared.strangers, prepared.left_out):
        tell(events.Note(text=text))
    put_off = {one.job.source for one in later}
    for one in prepared.tracks:
        verdict = refused.get(one.placed.job.source)
        decision = one.decision
        if one.placed.job.source in put_off:
            decision = Decision(action=Action.LEAVE, why="left for another run by --limit")
            planned = _planned(one.placed, decision, brief, plan)
            tell(msgspec.structs.replace(planned, action="put_off"))
            continue
        if verdict is not None:
            decision = Decision(action=Action.REFUSE, why=verdict.message, remedy=verdict.remedy)
        tell(_planned(one.placed, decision, brief, plan))
    for problem in prepared.problems:
        tell(event_factory.failed_input(problem))
    result = BatchResult(
        problems=tuple(prepared.problems),
        skipped=tuple(one.job for one in prepared.of(Action.LEAVE)),
        failed_earlier=tuple(
            one.placed.job
            for one in prepared.tracks
            if one.decision.action in {Action.LEAVE_FAILED, Action.REFUSE}
            or one.placed.job.source in refused
        ),
        put_off=tuple(one.job for one in later),
        unreadable=tuple(found.unreadable),
    )
    longest = max((audio_seconds(one.probe, brief.settings) for one in to_do), default=0.0)
    footprint = plan.forecast.footprint(plan.crew.effort, longest)
    tell(
        events.PlanMade(
            separate=len(to_do),
            leave=len(result.skipped),
            leave_failed=len(prepared.of(Action.LEAVE_FAILED)),
            refuse=len(prepared.of(Action.REFUSE)) + len(refused),
            problems=len(prepared.problems),
            put_off=len(later),
            unreadable=tuple(printable(one.path) for one in found.unreadable),
            audio_seconds=sum(audio_seconds(one.probe, brief.settings) for one in to_do),
            predicted_seconds=predicted_seconds(to_do, brief, plan),
            predicted_bytes=sum(_bytes(one, brief) for one in to_do),
            free_bytes=_free_bytes(brief.output),
            predicted_memory_bytes=SUPERVISOR_BYTES
            + footprint.shared_bytes
            + footprint.private_bytes * plan.crew.workers,
            max_ram_bytes=plan.budget.total_bytes,
            jobs=plan.crew.workers,
            threads=plan.crew.effort.threads,
            until=brief.deadline,
            ends_in_time=_ends_in_time(to_do, plan, brief),
            exit_code=result.exit_code,
        )
    )
    return result


def _refused(to_do: list[Placed], brief: Brief, plan: Plan) -> dict[bytes, Verdict]:
    """Find the tracks that would not be started because as a whole they can never fit."""
    host = functools.cache(lambda: host_memory(limiting_groups()))
    verdicts = {
        one.job.source: plan.refusal(
            plan.crew.effort, whole_seconds(one.probe, brief.settings), host
        )
        for one in to_do
    }
    return {source: verdict for source, verdict in verdicts.items() if verdict is not None}


def predicted_seconds(placed: list[Placed], brief: Brief, plan: Plan) -> float:
    """Predict the time of a batch: of its children together, so many at once."""
    children = [_seconds(one, brief, plan) for one in placed]
    return max(sum(children) / plan.crew.workers, max(children, default=0.0))


def _seconds(placed: Placed, brief: Brief, plan: Plan) -> float:
    seconds = audio_seconds(placed.probe, brief.settings)
    return plan.forecast.seconds(seconds, plan.crew.effort)


def _bytes(placed: Placed, brief: Brief) -> int:
    return stem_bytes(placed.probe, brief.settings, len(brief.stems))


def _planned(placed: Placed, decision: Decision, brief: Brief, plan: Plan) -> events.TrackPlanned:
    do = decision.action is Action.DO
    return events.TrackPlanned(
        source=printable(placed.job.source),
        destination=printable(placed.job.destination),
        paths=tuple(printable(path) for path in placed.job.paths.values()),
        action=_NAMES[decision.action],
        why=" ".join(f"{decision.why} {decision.remedy}".split()),
        audio_seconds=placed.probe.seconds,
        predicted_seconds=_seconds(placed, brief, plan) if do else None,
        predicted_bytes=_bytes(placed, brief) if do else None,
    )


def _ends_in_time(to_do: list[Placed], plan: Plan, brief: Brief) -> int | None:
    """Count the tracks that are predicted to end before the deadline, going on in order."""
    if brief.deadline is None:
        return None
    free_at = [time.time()] * plan.crew.workers
    count = 0
    for one in to_do:
        first = free_at.index(min(free_at))
        end = free_at[first] + _seconds(one, brief, plan)
        if end <= brief.deadline:
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

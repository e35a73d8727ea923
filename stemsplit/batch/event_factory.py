"""Runs in the supervisor. Builds the events of a batch from plans, messages and outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stemsplit.batch import events
from stemsplit.core.outcome import Reason, WarningKind
from stemsplit.core.text import printable
from stemsplit.models.engines import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stemsplit.batch.decisions import Decision
    from stemsplit.batch.request import BatchRequest
    from stemsplit.core.job import Job
    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Started
    from stemsplit.core.outcome import Attempt, Outcome
    from stemsplit.library.tracks import Problem
    from stemsplit.supervisor.pool_plan import PoolPlan

    Listener = Callable[[events.Event], None]


def batch_started(request: BatchRequest, tracks: int) -> events.BatchStarted:
    """Return the event for a finished plan."""
    return events.BatchStarted(
        version=request.version,
        tracks=tracks,
        what=request.settings.what,
        model=request.settings.model if request.settings.separates else None,
        engine=name_of(request.settings.loader) if request.settings.separates else None,
        output=printable(request.output),
    )


def track_skipped(job: Job, why: str) -> events.TrackSkipped:
    """Return the event for a track that is already done."""
    return events.TrackSkipped(
        source=printable(job.source), destination=printable(job.destination), why=why
    )


def track_failed_earlier(job: Job, decision: Decision) -> events.TrackFailed:
    """Return the event for a track that failed in an earlier run and is not retried."""
    return events.TrackFailed(
        source=printable(job.source),
        reason=decision.reason or Reason.CRASHED,
        message=decision.why,
        remedy=decision.remedy,
        earlier=True,
    )


def pool_started(plan: PoolPlan) -> events.PoolStarted:
    """Return the event for a pool that is about to start children."""
    return events.PoolStarted(
        jobs=plan.concurrency.workers,
        threads=plan.concurrency.resources.threads,
        lean=plan.concurrency.resources.lean,
        max_ram_bytes=plan.budget.total_bytes,
        max_ram_per_file_bytes=plan.cap_bytes(plan.concurrency.resources),
        min_free_bytes=plan.budget.min_free_bytes,
    )


def track_retried(job: Job, attempt: Attempt, resources: Resources) -> events.TrackRetried:
    """Return the event for a failed attempt that another one follows."""
    return events.TrackRetried(
        source=printable(job.source),
        attempt=attempt.number,
        reason=attempt.reason,
        message=attempt.message,
        next=str(resources),
        exit_code=attempt.exit_code,
        peak_memory_bytes=attempt.peak_pss_bytes,
        story=attempt.story,
        log_tail=attempt.log_tail,
        log_file=_path(attempt.log_file),
    )


def track_started(job: Job, message: Started, *, preloaded: bool) -> events.TrackStarted:
    """Return the event for a child that opened the track's file."""
    info = message.info
    return events.TrackStarted(
        source=printable(job.source),
        destination=printable(job.destination),
        format=f"{info.format} {info.subtype}",
        sample_rate=info.sample_rate,
        channels=info.channels,
        audio_seconds=info.seconds,
        preloaded=preloaded,
    )


def input_failed(problem: Problem) -> events.TrackFailed:
    """Return the event for an input that leads to no track."""
    return events.TrackFailed(
        source=printable(problem.path),
        reason=Reason.BAD_INPUT,
        message=problem.message,
        remedy=problem.remedy,
    )


def track_ended(outcome: Outcome) -> events.TrackDone | events.TrackFailed:
    """Return the event for a track that is done or has failed."""
    job = outcome.job
    if outcome.reason is Reason.DONE:
        return events.TrackDone(
            source=printable(job.source),
            destination=printable(job.destination),
            stems=tuple(
                events.Stem(
                    stem=stem.stem,
                    path=printable(job.paths[stem.stem]),
                    frames=stem.frames,
                    sample_rate=stem.sample_rate,
                    peak=stem.peak,
                    clipped_samples=stem.clipped_samples,
                    gain=stem.gain,
                )
                for stem in outcome.stems
            ),
            warnings=tuple(warning.text for warning in outcome.warnings),
            warning_kinds=tuple(warning.kind for warning in outcome.warnings),
            audio_seconds=outcome.audio_seconds,
            seconds=outcome.seconds,
            attempts=len(outcome.attempts),
            peak_memory_bytes=outcome.peak_pss_bytes,
            peak_rss_bytes=outcome.attempts[-1].peak_rss_bytes if outcome.attempts else None,
        )
    return track_failed(outcome)


def track_failed(outcome: Outcome) -> events.TrackFailed:
    """Return the event for a failed track, with the story of its last attempt if it had one."""
    event = events.TrackFailed(
        source=printable(outcome.job.source),
        reason=outcome.reason,
        message=outcome.message,
        remedy=outcome.remedy,
        attempts=len(outcome.attempts),
    )
    last = outcome.last_attempt
    if last is None:
        return event
    return msgspec.structs.replace(
        event,
        exit_code=last.exit_code,
        peak_memory_bytes=last.peak_pss_bytes,
        traceback=last.traceback,
        story=last.story,
        log_tail=last.log_tail,
        log_file=_path(last.log_file),
    )


def damages(outcomes: Iterable[Outcome]) -> Iterator[events.Damage]:
    """Yield an entry for each track that is done although part of its source is lost."""
    for outcome in outcomes:
        texts = [
            warning.text for warning in outcome.warnings if warning.kind is WarningKind.DAMAGED
        ]
        if texts and outcome.reason is Reason.DONE:
            yield events.Damage(source=printable(outcome.job.source), message=" ".join(texts))


def _path(path: str | None) -> str | None:
    return None if path is None else printable(path)

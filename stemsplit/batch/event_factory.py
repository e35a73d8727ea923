"""Runs in the supervisor. What happened to a track, told as an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stemsplit.batch import events
from stemsplit.core.outcome import Reason, WarningKind
from stemsplit.core.text import counted, printable, quoted
from stemsplit.library.exclusion import endings_of, names_of
from stemsplit.models.engines import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stemsplit.batch.decisions import Decision
    from stemsplit.batch.request import BatchRequest
    from stemsplit.core.job import Job
    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Started
    from stemsplit.core.outcome import Attempt, Outcome
    from stemsplit.library.scan import Found, Problem
    from stemsplit.supervisor.pool_plan import PoolPlan

    Listener = Callable[[events.Event], None]


_MOST_UNREADABLE = 20
"""So many folders that cannot be read are named."""


def batch_started(request: BatchRequest, tracks: int) -> events.BatchStarted:
    """The plan is made."""
    return events.BatchStarted(
        version=request.version,
        tracks=tracks,
        what=request.settings.what,
        model=request.settings.model if request.settings.separates else None,
        engine=name_of(request.settings.loader) if request.settings.separates else None,
        output=printable(request.output),
    )


def duplicates(count: int) -> events.Note:
    """Some files were met again."""
    return events.Note(text=f"{counted(count, 'file')} named more than once, and taken once")


def left_out(found: Found) -> Iterator[str]:
    """Say what the search of folders left out, and which folders could not be read."""
    out = found.left_out
    if out.system:
        yield f"{counted(len(out.system), 'system folder')} left out ({names_of(out.system)})"
    if out.hidden:
        yield (
            f"{counted(len(out.hidden), 'hidden file or folder', 'hidden files and folders')} left "
            f"out ({names_of(out.hidden)}); to take one, give it as an input"
        )
    excluded = [
        counted(len(paths), what)
        for paths, what in ((out.excluded_files, "file"), (out.excluded_folders, "folder"))
        if paths
    ]
    if excluded:
        names = names_of([*out.excluded_folders, *out.excluded_files])
        yield f"{' and '.join(excluded)} excluded by --exclude ({names})"
    for pattern in found.unmatched:
        yield f"--exclude {quoted(pattern)} matched nothing"
    if out.unfinished:
        files = counted(len(out.unfinished), "unfinished file")
        yield f"{files} left out ({names_of(out.unfinished)})"
    if out.unknown:
        yield (
            f"{counted(len(out.unknown), 'file')} left out, audio neither by name nor by content "
            f"({endings_of(out.unknown)})"
        )
    for one in found.unreadable[:_MOST_UNREADABLE]:
        yield f"warning: {one.message} What is in it was left out. {one.remedy}"
    more = len(found.unreadable) - _MOST_UNREADABLE
    if more > 0:
        yield f"warning: {counted(more, 'further folder')} cannot be read"


def put_off(count: int) -> str:
    """Say how many tracks are left for another run."""
    return f"{counted(count, 'track')} left for another run by --limit"


def left(untracked: int, left_out: int) -> Iterator[str]:
    """Say which files are left as they are, and why that may not be what was meant."""
    if untracked:
        yield (
            f"{counted(untracked, 'track')} left, because files of that name are there that no "
            "journal knows; --overwrite replaces them"
        )
    if left_out:
        yield f"{counted(left_out, 'file')} left out, which an earlier run has made"


def skipped(job: Job, why: str) -> events.TrackSkipped:
    """A track is done already."""
    return events.TrackSkipped(
        source=printable(job.source), destination=printable(job.destination), why=why
    )


def failed_earlier(job: Job, decision: Decision) -> events.TrackFailed:
    """A track has failed in an earlier run, and is left alone."""
    return events.TrackFailed(
        source=printable(job.source),
        reason=decision.reason or Reason.CRASHED,
        message=decision.why,
        remedy=decision.remedy,
        earlier=True,
    )


def pool_started(plan: PoolPlan) -> events.PoolStarted:
    """Children are about to be started."""
    return events.PoolStarted(
        jobs=plan.concurrency.workers,
        threads=plan.concurrency.resources.threads,
        lean=plan.concurrency.resources.lean,
        max_ram_bytes=plan.budget.total_bytes,
        max_ram_per_file_bytes=plan.cap_bytes(plan.concurrency.resources),
        min_free_bytes=plan.budget.min_free_bytes,
    )


def retried(job: Job, attempt: Attempt, resources: Resources) -> events.TrackRetried:
    """An attempt failed; another one follows."""
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


def started(job: Job, message: Started, *, preloaded: bool) -> events.TrackStarted:
    """A child has opened the track's file."""
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


def failed_input(problem: Problem) -> events.TrackFailed:
    """An input that leads to no track."""
    return events.TrackFailed(
        source=printable(problem.path),
        reason=Reason.BAD_INPUT,
        message=problem.message,
        remedy=problem.remedy,
    )


def ended(outcome: Outcome) -> events.TrackDone | events.TrackFailed:
    """A track is done, or has failed."""
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
            warnings=tuple(one.text for one in outcome.warnings),
            warning_kinds=tuple(one.kind for one in outcome.warnings),
            audio_seconds=outcome.audio_seconds,
            seconds=outcome.seconds,
            attempts=len(outcome.attempts),
            peak_memory_bytes=outcome.peak_pss_bytes,
            peak_rss_bytes=outcome.attempts[-1].peak_rss_bytes if outcome.attempts else None,
        )
    return failed(outcome)


def failed(outcome: Outcome) -> events.TrackFailed:
    """A track has failed, with the story of its last attempt if there was one."""
    told = events.TrackFailed(
        source=printable(outcome.job.source),
        reason=outcome.reason,
        message=outcome.message,
        remedy=outcome.remedy,
        attempts=len(outcome.attempts),
    )
    last = outcome.last_attempt
    if last is None:
        return told
    return msgspec.structs.replace(
        told,
        exit_code=last.exit_code,
        peak_memory_bytes=last.peak_pss_bytes,
        traceback=last.traceback,
        story=last.story,
        log_tail=last.log_tail,
        log_file=_path(last.log_file),
    )


def damage(outcomes: Iterable[Outcome]) -> Iterator[events.Damage]:
    """Tracks that are done although part of their source is lost."""
    for outcome in outcomes:
        lost = [one.text for one in outcome.warnings if one.kind is WarningKind.DAMAGED]
        if lost and outcome.reason is Reason.DONE:
            yield events.Damage(source=printable(outcome.job.source), message=" ".join(lost))


def _path(path: str | None) -> str | None:
    return None if path is None else printable(path)

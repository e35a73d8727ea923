"""Runs in the supervisor. What happened to a track, told as an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit import events
from stemsplit.job import Reason
from stemsplit.text import printable

if TYPE_CHECKING:
    from stemsplit.job import Job, Outcome
    from stemsplit.library.scan import Problem
    from stemsplit.messages import Started


def skipped(job: Job) -> events.TrackSkipped:
    """All stems of a track are there already."""
    return events.TrackSkipped(source=printable(job.source), destination=printable(job.destination))


def started(job: Job, message: Started) -> events.TrackStarted:
    """A child has opened the track's file."""
    info = message.info
    return events.TrackStarted(
        source=printable(job.source),
        destination=printable(job.destination),
        format=f"{info.format} {info.subtype}",
        sample_rate=info.sample_rate,
        channels=info.channels,
        audio_seconds=info.seconds,
        preloaded=message.preloaded,
    )


def failed_input(problem: Problem) -> events.TrackFailed:
    """An input that leads to no track."""
    return events.TrackFailed(
        source=printable(problem.path),
        reason=Reason.BAD_INPUT,
        message=problem.message,
        remedy=problem.remedy,
        exit_code=None,
        detail="",
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
                    path=printable(job.destination_path / stem.file_name),
                    frames=stem.frames,
                    peak=stem.peak,
                    clipped_samples=stem.clipped_samples,
                )
                for stem in outcome.stems
            ),
            warnings=outcome.warnings,
            audio_seconds=outcome.audio_seconds,
            seconds=outcome.seconds,
            peak_memory_bytes=outcome.peak_pss_bytes,
        )
    return events.TrackFailed(
        source=printable(job.source),
        reason=outcome.reason,
        message=outcome.message,
        remedy=outcome.remedy,
        exit_code=outcome.exit_code,
        detail=outcome.detail,
    )

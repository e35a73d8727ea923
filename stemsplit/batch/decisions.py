"""Runs in the supervisor. Decides for each track: separate, skip or refuse, and why.

Decides from the journal's record of a track and the files at its destinations. Changes nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.compat import StrEnum
from stemsplit.core.outcome import Reason
from stemsplit.core.text import quoted
from stemsplit.journal.job_records import JobState, Provenance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stemsplit.batch.existing_files import ExistingFiles, JournalKnowledge
    from stemsplit.core.job import Job
    from stemsplit.journal.job_records import JobRecord
    from stemsplit.library.destinations import PlannedTrack

TRACK_REASONS = frozenset(
    {
        Reason.BAD_INPUT,
        Reason.CRASHED,
        Reason.DAMAGED,
        Reason.NODE_LOST,
        Reason.NO_RESULT,
        Reason.OVER_RAM_CAP,
        Reason.STALLED,
        Reason.TIMED_OUT,
    }
)
"""Failures caused by the track. Later runs skip such a track unless asked to retry it. Failures
caused by the machine or the user (a full disk, an interruption) are always retried."""


class Action(StrEnum):
    """What a batch does with a track; the values appear in events."""

    SEPARATE = "separate"
    SKIP = "leave"
    SKIP_FAILED = "leave_failed"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a batch does with a track, and why.

    Attributes:
        action: what to do.
        why: half a sentence for the plan; a whole sentence if `action` is `REFUSE` or
            `SKIP_FAILED`.
        remedy: what the user can do about a refusal or a failure.
        reason: of the earlier failure.
    """

    action: Action
    why: str
    remedy: str = ""
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedoPolicy:
    """Which finished and failed tracks a batch separates again.

    Attributes:
        settings: of this run, as `stemsplit.journal.job_records.settings_key` returns them.
        version: of stemsplit.
        overwrite: whether all tracks are separated again.
        retry_failed: whether failed tracks are tried again.
        accept_damaged: whether tracks that failed as damaged are tried again.
        recovered: whether recovery has already cleaned up after a killed run.
    """

    settings: str
    version: str
    overwrite: bool = False
    retry_failed: bool = False
    accept_damaged: bool = False
    recovered: bool = True

    def retries(self, record: JobRecord) -> bool:
        """Return whether the user asked to retry a failed track.

        Accepting damage implies a retry of what failed as damaged; no second option is needed.
        """
        return self.retry_failed or (self.accept_damaged and record.reason is Reason.DAMAGED)


def decide(
    planned: PlannedTrack,
    existing: ExistingFiles,
    knowledge: JournalKnowledge,
    redo_policy: RedoPolicy,
) -> Decision:
    """Decide what to do with a track."""
    refusal = _refusal(planned, existing, knowledge)
    if refusal is not None:
        return refusal
    record = knowledge.record
    if redo_policy.overwrite:
        is_new = record is None and not existing.fingerprints
        return Decision(action=Action.SEPARATE, why="new" if is_new else "to be overwritten")
    if record is None:
        return _decide_without_record(planned.job, existing)
    wanted = wanted_of(planned, redo_policy)
    is_same_path = record.source == os.path.abspath(planned.job.source)
    if not is_same_path and not (knowledge.is_moved and _has_same_source(record, wanted)):
        return _decide_with_other_source(planned.job, existing, record)
    if record.state is JobState.PUBLISHING:
        return _decide_half_published(record, redo_policy)
    return _decide_with_record(planned.job, existing, record, knowledge.owned, wanted, redo_policy)


def wanted_of(planned: PlannedTrack, redo_policy: RedoPolicy) -> Provenance:
    """Return the source and settings that a track's stems are to have."""
    return Provenance(
        source_bytes=planned.probe.size_bytes,
        source_modified_ns=planned.probe.modified_ns,
        settings=redo_policy.settings,
        sample=planned.probe.sample,
    )


def _refuse(why: str, remedy: str) -> Decision:
    return Decision(action=Action.REFUSE, why=why, remedy=remedy)


def _refusal(
    planned: PlannedTrack, existing: ExistingFiles, knowledge: JournalKnowledge
) -> Decision | None:
    """Return the refusal that applies even with --overwrite; None if there is none."""
    if existing.obstacle:
        return _refuse(existing.obstacle, "Move it elsewhere, or choose another folder with -o.")
    if existing.overwrites_source:
        stem = next(iter(planned.job.paths.values()))
        return _refuse(
            f"The output of {quoted(planned.job.source)} would overwrite a source: {quoted(stem)}.",
            "Choose another output folder with -o.",
        )
    if planned.collision is not None and not _was_published(planned, knowledge.record):
        return _refuse(
            f"{quoted(planned.collision.other)} would also be written to "
            f"{quoted(planned.collision.path)}.",
            f"Give them different names, for example with --name '{planned.collision.example}', "
            "or rename one.",
        )
    return None


def _was_published(planned: PlannedTrack, record: JobRecord | None) -> bool:
    """Return whether a track had its destination before another track wanted it."""
    return (
        record is not None
        and record.published is not None
        and record.source == os.path.abspath(planned.job.source)
    )


def _has_same_source(record: JobRecord, wanted: Provenance) -> bool:
    """Return whether a record is about the same source, which may have moved."""
    recorded = (record.wanted, record.published)
    return any(
        provenance is not None and provenance.has_same_source(wanted) for provenance in recorded
    )


def _decide_without_record(job: Job, existing: ExistingFiles) -> Decision:
    stems = existing.fingerprints
    if not stems:
        return Decision(action=Action.SEPARATE, why="new")
    if len(stems) == len(job.stems):
        return Decision(action=Action.SKIP, why="its stems exist, but are untracked")
    return _refuse(
        f"{quoted(job.paths[next(iter(stems))])} exists, but the track's other stems do not.",
        "Use --overwrite to replace it, or choose another folder with -o.",
    )


def _decide_with_other_source(job: Job, existing: ExistingFiles, record: JobRecord) -> Decision:
    """Decide about a track whose destinations the journal records for another source."""
    if not existing.fingerprints:
        return Decision(action=Action.SEPARATE, why="new")
    stem = next(iter(existing.fingerprints))
    return _refuse(
        f"{quoted(job.paths[stem])} is a stem of another file, {quoted(record.source)}.",
        "Choose another output folder with -o or other names with --name, or use --overwrite.",
    )


def _decide_half_published(record: JobRecord, redo_policy: RedoPolicy) -> Decision:
    if not redo_policy.recovered:
        return Decision(action=Action.SKIP, why="done; the next run publishes its stems")
    return _refuse(
        "Some of its stems are published; the others are on disk but could not be published. "
        f"{record.message}".rstrip(),
        "Remove what is in their way, and run the same command again.",
    )


def _decide_with_record(
    job: Job,
    existing: ExistingFiles,
    record: JobRecord,
    owned: frozenset[str],
    wanted: Provenance,
    redo_policy: RedoPolicy,
) -> Decision:
    missing = [stem for stem in job.stems if stem not in existing.fingerprints]
    if wanted.equals(record.published) and not missing:
        return Decision(action=Action.SKIP, why="done")
    if _stays_failed(record, wanted, redo_policy):
        return Decision(
            action=Action.SKIP_FAILED,
            why=record.message,
            remedy=_how_to_retry(record),
            reason=record.reason,
        )
    why = _why_separate(record, wanted, redo_policy, missing)
    not_owned = [stem for stem in existing.fingerprints if stem not in owned]
    if not not_owned:
        return Decision(action=Action.SEPARATE, why=why)
    if not owned and record.published is None:
        return _decide_without_record(job, existing)
    return _refuse(
        f"The track must be redone ({why}), but {quoted(job.paths[not_owned[0]])} was modified "
        "after it was written.",
        "Use --overwrite to replace it, or choose another folder with -o.",
    )


def _stays_failed(record: JobRecord, wanted: Provenance, redo_policy: RedoPolicy) -> bool:
    return (
        record.state is JobState.FAILED
        and record.wanted.equals(wanted)
        and record.reason in TRACK_REASONS
        and record.version == redo_policy.version
        and not redo_policy.retries(record)
    )


def _how_to_retry(record: JobRecord) -> str:
    if record.reason is Reason.DAMAGED:  # would fail again with --retry-failed alone
        return record.remedy
    return f"{record.remedy} Use --retry-failed to try again.".lstrip()


def _why_separate(
    record: JobRecord, wanted: Provenance, redo_policy: RedoPolicy, missing: Sequence[str]
) -> str:
    published = record.published
    if record.state is JobState.FAILED and record.wanted.equals(wanted):
        if record.version != redo_policy.version:
            return f"failed under stemsplit {record.version}"
        retries = redo_policy.retries(record)
        return "failed, to be tried again" if retries else f"not done ({record.reason})"
    if published is None:
        return "not done yet"
    if not published.has_same_source(wanted):
        return "the file has changed"
    if published.settings != wanted.settings:
        return "the settings have changed"
    return f"stems are missing: {', '.join(missing)}"

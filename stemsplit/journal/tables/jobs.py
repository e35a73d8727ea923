"""Runs in the supervisor. Writes to the journal's table `jobs`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.outcome import Reason
from stemsplit.journal.job_records import JobState

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from stemsplit.core.outcome import Outcome, TrackWarning
    from stemsplit.journal.job_records import JobEntry
    from stemsplit.journal.stem_records import Stem


def insert_jobs(
    db: sqlite3.Connection, run: int, entries: Sequence[tuple[bytes, JobEntry]], version: str
) -> None:
    """Add jobs to a run, with their keys.

    Waiting jobs are updated if they are already recorded; of the others, only run, source and state
    change.
    """
    waiting = [(key, entry) for key, entry in entries if entry.state is JobState.WAITING]
    others = [(key, entry) for key, entry in entries if entry.state is not JobState.WAITING]
    db.executemany(
        """
        INSERT INTO jobs (place, run, source, source_bytes, source_modified_ns,
            source_sample, settings, version, state, predicted_seconds)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (place) DO UPDATE SET run = excluded.run, source = excluded.source,
            source_bytes = excluded.source_bytes,
            source_modified_ns = excluded.source_modified_ns,
            source_sample = excluded.source_sample, settings = excluded.settings,
            version = excluded.version, state = excluded.state,
            predicted_seconds = excluded.predicted_seconds
        """,
        (
            (
                key,
                run,
                os.path.abspath(entry.job.source),
                *entry.wanted.source_fingerprint,
                entry.wanted.sample or None,
                entry.wanted.settings,
                version,
                entry.state,
                entry.predicted_seconds,
            )
            for key, entry in waiting
        ),
    )
    db.executemany(
        "UPDATE jobs SET run = ?, source = ?, state = ? WHERE place = ?",
        ((run, os.path.abspath(entry.job.source), entry.state, key) for key, entry in others),
    )
    for column in ("source", "published"):
        # Earlier versions recorded size and time only.
        db.executemany(
            f"""
            UPDATE jobs SET {column}_sample = ? WHERE place = ? AND {column}_sample IS NULL
                AND {column}_bytes = ? AND {column}_modified_ns = ?
            """,  # noqa: S608 - one of the two names above
            (
                (entry.wanted.sample, key, *entry.wanted.source_fingerprint)
                for key, entry in others
                if entry.wanted.sample
            ),
        )


def select_job(db: sqlite3.Connection, key: bytes) -> tuple[int, bytes | None, str]:
    """Return a job's id, its packed pending stems, and its state.

    Raises:
        msgspec.ValidationError: if the job is missing.
    """
    row = db.execute("SELECT id, coming, state FROM jobs WHERE place = ?", (key,)).fetchone()
    if row is None:
        raise msgspec.ValidationError("an index does not match its table")
    return row  # type: ignore[no-any-return]


def set_state(db: sqlite3.Connection, key: bytes, state: JobState) -> None:
    """Record the state of a job."""
    db.execute("UPDATE jobs SET state = ? WHERE place = ?", (state, key))


def set_publishing(
    db: sqlite3.Connection, key: bytes, stems: Sequence[Stem], warnings: Sequence[TrackWarning]
) -> None:
    """Record the stems that are being published, and the track's warnings."""
    db.execute(
        "UPDATE jobs SET state = 'publishing', coming = ?, warnings = ? WHERE place = ?",
        (msgspec.msgpack.encode(stems), msgspec.json.encode(warnings).decode(), key),
    )


def cancel_publishing(db: sqlite3.Connection, key: bytes) -> None:
    """Record that the attempt is still running and no stem is being published."""
    db.execute("UPDATE jobs SET state = 'running', coming = NULL WHERE place = ?", (key,))


def set_recovered(db: sqlite3.Connection, key: bytes, state: JobState) -> None:
    """Record the state of a job after recovery."""
    reason = Reason.DONE if state is JobState.DONE else None
    db.execute("UPDATE jobs SET state = ?, reason = ? WHERE place = ?", (state, reason, key))


def set_failure(db: sqlite3.Connection, key: bytes, outcome: Outcome) -> None:
    """Record why a job failed, without changing its state."""
    db.execute(
        "UPDATE jobs SET reason = ?, message = ?, remedy = ? WHERE place = ?",
        (outcome.reason, outcome.message, outcome.remedy, key),
    )


def set_outcome(db: sqlite3.Connection, key: bytes, outcome: Outcome) -> None:
    """Record the outcome of a job."""
    is_done = outcome.reason is Reason.DONE
    db.execute(
        """
        UPDATE jobs SET state = ?, reason = ?, message = ?, remedy = ?, audio_seconds = ?,
            warnings = ? WHERE place = ?
        """,
        (
            JobState.DONE if is_done else JobState.FAILED,
            outcome.reason,
            outcome.message,
            outcome.remedy,
            outcome.audio_seconds if is_done else None,
            msgspec.json.encode(outcome.warnings).decode(),
            key,
        ),
    )

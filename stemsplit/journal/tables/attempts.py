"""Runs in the supervisor. Writes to the journal's table `attempts`."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from stemsplit.core.text import printable
from stemsplit.journal.tables.runs import encode_series

if TYPE_CHECKING:
    import sqlite3

    from stemsplit.core.limits import Resources
    from stemsplit.core.outcome import Attempt, Reason
    from stemsplit.core.settings import Settings


def insert_attempt(
    db: sqlite3.Connection,
    key: bytes,
    settings: Settings,
    resources: Resources,
    *,
    run: int,
    number: int,
    staging_folder: bytes,
    preloaded: bool,
) -> None:
    """Insert an attempt at a job; `staging_folder` is below the output folder."""
    db.execute(
        """
        INSERT INTO attempts (job, run, number, began, work_folder, model, engine, threads,
            lean, alone, preloaded)
        SELECT id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM jobs WHERE place = ?
        """,
        (
            run,
            number,
            time.time(),
            staging_folder,
            settings.model,
            settings.loader,
            resources.threads,
            resources.lean,
            resources.alone,
            preloaded,
            key,
        ),
    )


def end_attempt(db: sqlite3.Connection, key: bytes, attempt: Attempt, audio_seconds: float) -> None:
    """Record the outcome of a job's open attempt."""
    log_file = attempt.log_file
    db.execute(
        """
        UPDATE attempts SET reason = ?, message = ?, exit_code = ?, seconds = ?,
            audio_seconds = ?, peak_pss_bytes = ?, private_bytes = ?, peak_rss_bytes = ?,
            log_file = ?, ram_cap_bytes = ?, memory = ?, node = ?
        WHERE reason IS NULL AND job = (SELECT id FROM jobs WHERE place = ?)
        """,
        (
            attempt.reason,
            attempt.message,
            attempt.exit_code,
            attempt.seconds,
            audio_seconds,
            attempt.peak_pss_bytes,
            attempt.private_bytes,
            attempt.peak_rss_bytes,
            None if log_file is None else printable(os.path.basename(log_file)),
            attempt.ram_cap_bytes,
            encode_series(attempt.memory),
            attempt.node,
            key,
        ),
    )


def close_attempts(db: sqlite3.Connection, key: bytes, reason: Reason) -> None:
    """End the attempts at a job that a killed run left open."""
    db.execute(
        """
        UPDATE attempts SET reason = ?, message = 'It was not finished.'
        WHERE reason IS NULL AND job = (SELECT id FROM jobs WHERE place = ?)
        """,
        (reason, key),
    )

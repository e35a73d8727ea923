"""Runs in the supervisor. Writes to the journal's table `runs`."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import msgspec

from stemsplit.journal.job_records import settings_key

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from stemsplit.core.settings import Settings
    from stemsplit.core.time_series import TimeSeries
    from stemsplit.journal.run_records import RunSummary


def insert_run(
    db: sqlite3.Connection,
    settings: Settings,
    *,
    began: float,
    version: str,
    unrecorded: int,
    refused: Sequence[tuple[str, str, str]],
    overwrite: bool,
) -> int:
    """Insert a run of this process, and return its id."""
    cursor = db.execute(
        """
        INSERT INTO runs (began, version, host, pid, settings, unrecorded, refused, overwrite)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            began,
            version,
            socket.gethostname(),
            os.getpid(),
            settings_key(settings),
            unrecorded,
            msgspec.json.encode(refused).decode(),
            overwrite,
        ),
    )
    return cursor.lastrowid or 0


def end_run(
    db: sqlite3.Connection, run: int, summary: RunSummary, memory: TimeSeries | None
) -> None:
    """Record the result of a run."""
    db.execute(
        """
        UPDATE runs SET ended = ?, exit_code = ?, seconds = ?, audio_seconds = ?,
            peak_memory_bytes = ?, memory = ? WHERE id = ?
        """,
        (
            time.time(),
            summary.exit_code,
            summary.seconds,
            summary.audio_seconds,
            summary.peak_memory_bytes,
            encode_series(memory),
            run,
        ),
    )


def encode_series(series: TimeSeries | None) -> str | None:
    """Return a time series as the journal stores it."""
    return None if series is None else msgspec.json.encode(series).decode()

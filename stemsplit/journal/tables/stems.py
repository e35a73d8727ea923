"""Runs in the supervisor. Writes to the journal's tables `stems` and `outlines`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.journal.stem_records import decode_stems
from stemsplit.journal.tables.jobs import select_job

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping


def allow_replacing(
    db: sqlite3.Connection, key: bytes, files: Mapping[bytes, tuple[int, int]]
) -> None:
    """Record that a job is to be done again, and that it may replace `files`."""
    db.execute("UPDATE jobs SET published_settings = NULL WHERE place = ?", (key,))
    db.executemany(
        """
        INSERT OR REPLACE INTO stems (path, job, size_bytes, modified_ns)
        SELECT ?, id, ?, ? FROM jobs WHERE place = ?
        """,
        ((path, *fingerprint, key) for path, fingerprint in files.items()),
    )


def record_published(db: sqlite3.Connection, key: bytes) -> None:
    """Record that all pending stems of a job are at their destinations.

    Older stems of the job that remain, such as those of another model, lose their numbers.
    """
    job, packed, _ = select_job(db, key)
    if packed is None:  # already recorded, by the recovery after a lost node
        return
    db.execute("UPDATE stems SET number = NULL WHERE job = ?", (job,))
    db.executemany(
        """
        INSERT OR REPLACE INTO stems (path, job, size_bytes, modified_ns, stem, number)
        VALUES (?, ?, ?, ?, ?, ?)
        """,
        (
            (stem.path, job, *stem.fingerprint, stem.work_name.rpartition(".")[0], number)
            for number, stem in enumerate(decode_stems(packed))
        ),
    )
    db.execute(
        """
        UPDATE jobs SET coming = NULL, published_settings = settings,
            published_bytes = source_bytes, published_modified_ns = source_modified_ns,
            published_sample = source_sample
        WHERE id = ?
        """,
        (job,),
    )


def record_partly_published(db: sqlite3.Connection, key: bytes, output: bytes) -> None:
    """Record which pending stems of a job are at their destinations, so it may replace them."""
    job, packed, _ = select_job(db, key)
    db.executemany(
        "INSERT OR REPLACE INTO stems (path, job, size_bytes, modified_ns) VALUES (?, ?, ?, ?)",
        (
            (stem.path, job, *stem.fingerprint)
            for stem in decode_stems(packed)
            if stem.is_at(output)
        ),
    )
    db.execute("UPDATE jobs SET coming = NULL WHERE id = ?", (job,))


def insert_waveforms(db: sqlite3.Connection, overviews: Iterable[tuple[bytes, bytes]]) -> None:
    """Insert waveform overviews with the stems' paths below the output folder."""
    db.executemany("INSERT OR REPLACE INTO outlines VALUES (?, ?)", overviews)

"""Runs in the supervisor. The journal of an output folder for its readers.

These are the run that writes it (`stemsplit.journal.writer`), dry runs, and commands that show the
status during or after a run.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from stemsplit.core.outcome import Reason, count_kinds
from stemsplit.core.probe import Probe
from stemsplit.core.text import printable
from stemsplit.core.units import Count, Seconds
from stemsplit.journal.database import Database
from stemsplit.journal.job_records import (
    JobRecord,
    JobState,
    Provenance,
    decode_warnings,
    job_key,
)
from stemsplit.journal.run_records import AttemptMeasurement, RunRecord, decode_refused
from stemsplit.journal.stem_records import OwnedFile
from stemsplit.storage.safe_paths import require_inside

if TYPE_CHECKING:
    from collections import Counter

    from stemsplit.core.job import Job
    from stemsplit.core.outcome import WarningKind
    from stemsplit.core.settings import Settings

_WARNINGS_VERSION = 2
"""First version of the schema with warnings."""

_NODES_VERSION = 3
"""First version of the schema with the cluster node of an attempt."""

_SAMPLES_VERSION = 4
"""First version of the schema with samples of sources."""

_probe: msgspec.msgpack.Decoder[Probe] = msgspec.msgpack.Decoder(Probe)


class _JobRow(NamedTuple):
    key: bytes
    source: bytes
    source_bytes: int
    source_modified_ns: int
    settings: str
    published_bytes: int | None
    published_modified_ns: int | None
    published_settings: str | None
    version: str
    state: JobState
    reason: Reason | None
    message: str
    remedy: str
    source_sample: bytes | None
    published_sample: bytes | None

    def record(self) -> JobRecord:
        published = None
        if self.published_settings is not None:
            published = Provenance(
                source_bytes=self.published_bytes or 0,
                source_modified_ns=self.published_modified_ns or 0,
                settings=self.published_settings,
                sample=self.published_sample or b"",
            )
        return JobRecord(
            source=self.source,
            wanted=Provenance(
                source_bytes=self.source_bytes,
                source_modified_ns=self.source_modified_ns,
                settings=self.settings,
                sample=self.source_sample or b"",
            ),
            published=published,
            version=printable(self.version),
            state=self.state,
            reason=self.reason,
            message=printable(self.message),
            remedy=printable(self.remedy),
        )


class _StemRow(NamedTuple):
    path: bytes
    key: bytes
    size_bytes: int
    modified_ns: int


class _ProbeRow(NamedTuple):
    source: bytes
    probe: bytes


class _StateRow(NamedTuple):
    state: JobState
    tracks: Count
    seconds: Seconds


class _FailureRow(NamedTuple):
    source: bytes
    reason: Reason
    message: str


class _MeasurementRow(NamedTuple):
    lean: int
    threads: Annotated[int, msgspec.Meta(ge=1, le=2**16)]
    private_bytes: Count | None
    audio_seconds: Seconds
    seconds: Seconds


class JournalReader(Database):
    """The records of an output folder's tracks; arguments and errors as `Database`."""

    def job_key(self, job: Job) -> bytes:
        """Return the key of a job; see `stemsplit.journal.job_records.job_key`."""
        return job_key(job, Path(os.fsdecode(self._output)))

    def job_records(self) -> dict[bytes, JobRecord]:
        """Return the records of all jobs, by their keys."""
        has_samples = self.version >= _SAMPLES_VERSION
        samples = "source_sample, published_sample" if has_samples else "NULL, NULL"
        query = f"""
            SELECT place, source, source_bytes, source_modified_ns, settings, published_bytes,
                published_modified_ns, published_settings, version, state, reason, message, remedy,
                {samples}
            FROM jobs
        """  # noqa: S608 - one of the two texts above
        rows = self._read(_JobRow, query)
        with self._translate_errors():
            return {require_inside(row.key): row.record() for row in rows}

    def owned_files(self) -> dict[bytes, OwnedFile]:
        """Return the files that jobs may replace, by their paths below the output folder."""
        query = """
            SELECT path, place, size_bytes, modified_ns FROM stems JOIN jobs ON jobs.id = stems.job
        """
        rows = self._read(_StemRow, query)
        with self._translate_errors():
            return {
                require_inside(path): OwnedFile(
                    job_key=require_inside(key), fingerprint=(size, modified)
                )
                for path, key, size, modified in rows
            }

    def separated_files(self) -> frozenset[bytes]:
        """Return the paths of files that were separated, not just converted."""
        query = """
            SELECT path FROM stems JOIN jobs ON jobs.id = stems.job
            WHERE coalesce(published_settings, settings) NOT LIKE '%"what":"conversion"%'
        """
        return frozenset(self._read_column(bytes, query))

    def probes(self) -> dict[bytes, Probe]:
        """Return the recorded probes, by the paths of the sources."""
        rows = self._read(_ProbeRow, "SELECT source, look FROM probes")
        probes = {}
        for source, packed in rows:
            # The source of an unreadable one is probed again.
            with contextlib.suppress(msgspec.MsgspecError, RecursionError):
                probes[source] = _probe.decode(packed)
        return probes

    def past_attempts(
        self, settings: Settings, *, preloaded: bool, limit: int = 50
    ) -> list[AttemptMeasurement]:
        """Return the last finished attempts on this machine with the same model, oldest first."""
        local = "AND node = ''" if self.version >= _NODES_VERSION else ""
        rows = self._read(
            _MeasurementRow,
            f"""
            SELECT lean, threads, private_bytes, attempts.audio_seconds, attempts.seconds
            FROM attempts JOIN runs ON runs.id = attempts.run
            WHERE reason = 'done' AND attempts.audio_seconds > 0 AND host = ? AND model = ?
                AND engine = ? AND preloaded = ? {local}
            ORDER BY attempts.id DESC LIMIT ?
            """,  # noqa: S608 - one of the two texts above
            socket.gethostname(),
            settings.model,
            settings.loader,
            preloaded,
            limit,
        )
        return [
            AttemptMeasurement(**row._asdict() | {"lean": bool(row.lean)}) for row in reversed(rows)
        ]

    def state_counts(self) -> dict[JobState, tuple[int, float]]:
        """Return the number of the last run's jobs in each state, and their seconds of audio."""
        rows = self._read(
            _StateRow,
            """
            SELECT state, count(*), total(coalesce(audio_seconds, predicted_seconds)) FROM jobs
            WHERE run = (SELECT max(id) FROM runs) GROUP BY state
            """,
        )
        return {state: (count, seconds) for state, count, seconds in rows}

    def warning_counts(self) -> Counter[WarningKind]:
        """Return the number of the last run's done jobs with a warning of each kind."""
        if self.version < _WARNINGS_VERSION:
            return count_kinds(())
        query = """
            SELECT warnings FROM jobs
            WHERE run = (SELECT max(id) FROM runs) AND state = 'done' AND warnings <> '[]'
        """
        texts = self._read_column(str, query)
        with self._translate_errors():
            return count_kinds(map(decode_warnings, texts))

    def earlier_unfinished_count(self) -> int:
        """Return the number of jobs of earlier runs that are neither done nor failed."""
        query = """
            SELECT count(*) FROM jobs
            WHERE run < (SELECT max(id) FROM runs) AND state NOT IN ('done', 'failed')
        """
        return self._read_column(int, query)[0]

    def last_run(self) -> RunRecord | None:
        """Return the last run; None if there was none."""
        rows = self._read(
            RunRecord,
            """
            SELECT began, ended, exit_code, unrecorded, overwrite FROM runs
            ORDER BY id DESC LIMIT 1
            """,
        )
        return rows[0] if rows else None

    def failures(self) -> list[tuple[str, str, str]]:
        """Return source, reason and message of each failure of the last run, printable."""
        texts = self._read_column(str, "SELECT refused FROM runs ORDER BY id DESC LIMIT 1")
        with self._translate_errors():
            refused = decode_refused(texts[0]) if texts else ()
        failed = self._read(
            _FailureRow,
            """
            SELECT source, reason, message FROM jobs
            WHERE run = (SELECT max(id) FROM runs) AND state = 'failed' ORDER BY id
            """,
        )
        return [
            *refused,
            *((printable(row.source), row.reason, printable(row.message)) for row in failed),
        ]

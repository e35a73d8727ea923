"""Runs in the supervisor. Reads the whole journal, for `stemsplit report`."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from stemsplit.core.errors import UsageError
from stemsplit.core.text import printable, quoted
from stemsplit.core.time_series import TimeSeries
from stemsplit.core.units import Count, Moment, Seconds
from stemsplit.journal.database import Database
from stemsplit.journal.history import (
    History,
    PastAttempt,
    PastRun,
    PastSettings,
    PastStem,
    PastTrack,
)
from stemsplit.journal.job_records import JobState, decode_warnings
from stemsplit.journal.lock import no_run_error
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.journal.run_records import decode_refused
from stemsplit.storage.safe_paths import require_inside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_series: msgspec.json.Decoder[TimeSeries] = msgspec.json.Decoder(TimeSeries)
_settings: msgspec.json.Decoder[PastSettings] = msgspec.json.Decoder(PastSettings)


def read_history(output: Path) -> History:
    """Return everything that is recorded for an output folder, also while a run writes to it.

    Raises:
        UsageError: if no run is recorded, or the journal was written by an older version of
            stemsplit.
        StemsplitError: if the journal cannot be read.
    """
    layout = OutputLayout(output)
    opened = _HistoryReader.open_existing(layout.journal, output)
    if opened is None:
        raise no_run_error(layout)
    with opened as reader:
        if reader.version < _MIN_VERSION:
            raise UsageError(
                f"The journal in {quoted(output)} was written by an older version of stemsplit.",
                "Run the same `stemsplit separate` command again: it updates the journal and "
                "separates only what is left.",
            )
        history = reader.history(output)
    if history is None:
        raise no_run_error(layout)
    return history


_MIN_VERSION = 2
"""First version of the schema with all columns that are read here."""


class _RunRow(NamedTuple):
    number: int
    began: Moment
    ended: Moment | None
    version: str
    settings: str
    exit_code: int | None
    seconds: Seconds | None
    audio_seconds: Seconds | None
    peak_memory_bytes: Count | None
    max_ram_bytes: Count | None
    memory: str | None
    refused: str


class _JobRow(NamedTuple):
    id: int
    source: bytes
    run: int
    state: JobState
    reason: str | None
    message: str
    remedy: str
    warnings: str
    audio_seconds: Seconds | None


class _StemRow(NamedTuple):
    job: int
    number: int | None
    path: bytes
    stem: str | None
    waveform_overview: bytes | None


class _AttemptRow(NamedTuple):
    job: int
    id: int
    run: int
    number: int
    began: Moment
    engine: str
    reason: str | None
    message: str
    seconds: Seconds | None
    peak_pss_bytes: Count | None
    ram_cap_bytes: Count | None
    memory: str | None
    log_file: str | None


class _Rows(NamedTuple):
    """The rows of the queries below."""

    runs: list[_RunRow]
    jobs: list[_JobRow]
    stems: list[_StemRow]
    attempts: list[_AttemptRow]


_RUNS = """
    SELECT id, began, ended, version, settings, exit_code, seconds, audio_seconds,
        peak_memory_bytes, max_ram_bytes, memory, refused
    FROM runs ORDER BY id
"""
_JOBS = """
    SELECT id, source, run, state, reason, message, remedy, warnings,
        coalesce(audio_seconds, predicted_seconds)
    FROM jobs ORDER BY source, id
"""
_STEMS = """
    SELECT job, number, path, stem, outline FROM stems LEFT JOIN outlines USING (path)
    ORDER BY job, number, path
"""
_ATTEMPTS = """
    SELECT job, id, run, number, began, engine, reason, message, seconds, peak_pss_bytes,
        ram_cap_bytes, memory, log_file
    FROM attempts ORDER BY id
"""


class _HistoryReader(Database):
    def history(self, output: Path) -> History | None:
        """Return the whole journal; None if it records no run."""
        rows = self._all_rows()
        with self._translate_errors():
            runs = tuple(map(_run, rows.runs))
            return History(output=output, runs=runs, tracks=tuple(_tracks(rows))) if runs else None

    def _all_rows(self) -> _Rows:
        """Return a consistent snapshot of the journal.

        A run that writes waits meanwhile, so the rows are only read here, and decoded later.
        """
        with self._translate_errors():
            self._db.execute("BEGIN")
            try:
                return _Rows(
                    self._read(_RunRow, _RUNS),
                    self._read(_JobRow, _JOBS),
                    self._read(_StemRow, _STEMS),
                    self._read(_AttemptRow, _ATTEMPTS),
                )
            finally:
                self._db.execute("ROLLBACK")


def _run(row: _RunRow) -> PastRun:
    decoded = {
        "settings": _settings.decode(row.settings),
        "memory": _decode_series(row.memory),
        "refused": decode_refused(row.refused),
    }
    return PastRun(**row._asdict() | decoded)


def _tracks(rows: _Rows) -> Iterator[PastTrack]:
    runs = {row.number for row in rows.runs}
    attempts = _attempts([row for row in rows.attempts if row.run in runs])
    stems = _stems(rows.stems)
    for row in rows.jobs:
        yield PastTrack(
            source=row.source,
            run=row.run,
            state=row.state,
            reason=None if row.reason is None else printable(row.reason),
            message=printable(row.message),
            remedy=printable(row.remedy),
            warnings=decode_warnings(row.warnings),
            audio_seconds=row.audio_seconds,
            stems=tuple(stems.get(row.id, ())),
            attempts=tuple(attempts.get(row.id, ())),
        )


def _stems(rows: list[_StemRow]) -> dict[int, list[PastStem]]:
    """Return each job's stems of its last publishing, by the jobs' ids.

    A job without numbered stems, as written by version 1 of the schema, has all of its stems.
    """
    numbered: defaultdict[int, list[PastStem]] = defaultdict(list)
    others: defaultdict[int, list[PastStem]] = defaultdict(list)
    for job, number, path, stem, waveform_overview in rows:
        name = stem or os.fsdecode(os.path.splitext(os.path.basename(path))[0])
        stems = others if number is None else numbered
        stems[job].append(
            PastStem(
                path=require_inside(path), stem=name, waveform_overview=waveform_overview or b""
            )
        )
    return others | numbered


def _attempts(rows: list[_AttemptRow]) -> dict[int, list[PastAttempt]]:
    attempts = defaultdict(list)
    for row in rows:
        values = row._asdict() | {
            "memory": _decode_series(row.memory),
            "engine": printable(row.engine),
        }
        attempts[values.pop("job")].append(PastAttempt(**values))
    return attempts


def _decode_series(series: str | None) -> TimeSeries | None:
    return None if series is None else _series.decode(series)

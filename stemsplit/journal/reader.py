"""Runs in the supervisor. The journal of an output folder, for whoever reads it.

That is the run that writes it (`stemsplit.journal.writer`), a plan, and whoever looks on meanwhile
or afterwards.
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
from stemsplit.journal.records import (
    JobState,
    Owned,
    PastAttempt,
    Record,
    Run,
    Wanted,
    place_of,
    refused_of,
    warnings_of,
)
from stemsplit.storage.untrusted import require_inside

if TYPE_CHECKING:
    from collections import Counter

    from stemsplit.core.job import Job
    from stemsplit.core.outcome import WarningKind
    from stemsplit.core.settings import Settings

_KNOWS_NODES = 3
"""The first version of the journal that says on which node of a cluster an attempt was made."""

_HAS_WARNINGS = 2
"""The first version of the journal that keeps warnings."""

_KNOWS_SAMPLES = 4
"""The first version that keeps samples of the content of sources."""

_probe: msgspec.msgpack.Decoder[Probe] = msgspec.msgpack.Decoder(Probe)


def _wanted(size: int, modified_ns: int, settings: str, sample: bytes | None) -> Wanted:
    return Wanted(
        source_bytes=size,
        source_modified_ns=modified_ns,
        settings=settings,
        sample=sample or b"",
    )


class _JobRow(NamedTuple):
    place: bytes
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

    def record(self) -> Record:
        published = None
        if self.published_settings is not None:
            published = _wanted(
                self.published_bytes or 0,
                self.published_modified_ns or 0,
                self.published_settings,
                self.published_sample,
            )
        return Record(
            source=self.source,
            wanted=_wanted(
                self.source_bytes, self.source_modified_ns, self.settings, self.source_sample
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
    place: bytes
    size_bytes: int
    modified_ns: int


class _PathRow(NamedTuple):
    path: bytes


class _ProbeRow(NamedTuple):
    source: bytes
    look: bytes


class _StateRow(NamedTuple):
    state: JobState
    tracks: Count
    seconds: Seconds


class _TextRow(NamedTuple):
    text: str


class _CountRow(NamedTuple):
    number: Count


class _FailureRow(NamedTuple):
    source: bytes
    reason: Reason
    message: str


class _Past(NamedTuple):
    lean: int
    threads: Annotated[int, msgspec.Meta(ge=1, le=2**16)]
    private_bytes: Count | None
    audio_seconds: Seconds
    seconds: Seconds


class JournalReader(Database):
    """What is known of an output folder's tracks. As `Database` otherwise."""

    def place_of(self, job: Job) -> bytes:
        """Give what a job is found by; see `stemsplit.journal.records.place_of`."""
        return place_of(job, Path(os.fsdecode(self._output)))

    def records(self) -> dict[bytes, Record]:
        """Give all that is known of jobs, by their places."""
        knows_samples = self.version >= _KNOWS_SAMPLES
        samples = "source_sample, published_sample" if knows_samples else "NULL, NULL"
        query = f"""
            SELECT place, source, source_bytes, source_modified_ns, settings, published_bytes,
                published_modified_ns, published_settings, version, state, reason, message, remedy,
                {samples}
            FROM jobs
        """  # noqa: S608 - one of the two texts above
        rows = self._read(_JobRow, query)
        with self._told():
            return {require_inside(row.place): row.record() for row in rows}

    def owned(self) -> dict[bytes, Owned]:
        """Give the files that may be replaced, by their paths below the output folder."""
        query = """
            SELECT path, place, size_bytes, modified_ns FROM stems JOIN jobs ON jobs.id = stems.job
        """
        rows = self._read(_StemRow, query)
        with self._told():
            return {
                require_inside(path): Owned(place=require_inside(place), mark=(size, modified))
                for path, place, size, modified in rows
            }

    def stems(self) -> frozenset[bytes]:
        """Give the files that were separated, and not only converted, by their paths."""
        rows = self._read(
            _PathRow,
            """
            SELECT path FROM stems JOIN jobs ON jobs.id = stems.job
            WHERE coalesce(published_settings, settings) NOT LIKE '%"what":"conversion"%'
            """,
        )
        return frozenset(path for (path,) in rows)

    def probes(self) -> dict[bytes, Probe]:
        """Give the first looks into files that were kept."""
        rows = self._read(_ProbeRow, "SELECT source, look FROM probes")
        found = {}
        for source, look in rows:
            with contextlib.suppress(msgspec.MsgspecError, RecursionError):  # it is looked at again
                found[source] = _probe.decode(look)
        return found

    def past(self, settings: Settings, *, preloaded: bool, limit: int = 50) -> list[PastAttempt]:
        """Give the last finished attempts of this machine with the same model, oldest first."""
        here = "AND node = ''" if self.version >= _KNOWS_NODES else ""
        rows = self._read(
            _Past,
            f"""
            SELECT lean, threads, private_bytes, attempts.audio_seconds, attempts.seconds
            FROM attempts JOIN runs ON runs.id = attempts.run
            WHERE reason = 'done' AND attempts.audio_seconds > 0 AND host = ? AND model = ?
                AND engine = ? AND preloaded = ? {here}
            ORDER BY attempts.id DESC LIMIT ?
            """,  # noqa: S608 - one of the two texts above
            socket.gethostname(),
            settings.model,
            settings.loader,
            preloaded,
            limit,
        )
        return [PastAttempt(**row._asdict() | {"lean": bool(row.lean)}) for row in reversed(rows)]

    def counts(self) -> dict[JobState, tuple[int, float]]:
        """Count the last run's jobs in each state, with their seconds of audio."""
        rows = self._read(
            _StateRow,
            """
            SELECT state, count(*), total(coalesce(audio_seconds, predicted_seconds)) FROM jobs
            WHERE run = (SELECT max(id) FROM runs) GROUP BY state
            """,
        )
        return {state: (count, seconds) for state, count, seconds in rows}

    def warned(self) -> Counter[WarningKind]:
        """Count the last run's done jobs that have a warning of each kind."""
        if self.version < _HAS_WARNINGS:
            return count_kinds(())
        rows = self._read(
            _TextRow,
            """
            SELECT warnings FROM jobs
            WHERE run = (SELECT max(id) FROM runs) AND state = 'done' AND warnings <> '[]'
            """,
        )
        with self._told():
            return count_kinds(warnings_of(text) for (text,) in rows)

    def left_earlier(self) -> int:
        """Count the jobs of earlier runs that are neither done nor failed."""
        rows = self._read(
            _CountRow,
            """
            SELECT count(*) FROM jobs
            WHERE run < (SELECT max(id) FROM runs) AND state NOT IN ('done', 'failed')
            """,
        )
        return rows[0].number

    def last_run(self) -> Run | None:
        """Give the last run, None if there was none."""
        rows = self._read(
            Run,
            """
            SELECT began, ended, exit_code, unrecorded, overwrite FROM runs
            ORDER BY id DESC LIMIT 1
            """,
        )
        return rows[0] if rows else None

    def failures(self) -> list[tuple[str, str, str]]:
        """List the last run's failures: source, printable; reason; message."""
        rows = self._read(_TextRow, "SELECT refused FROM runs ORDER BY id DESC LIMIT 1")
        with self._told():
            refused = refused_of(rows[0].text) if rows else ()
        failed = self._read(
            _FailureRow,
            """
            SELECT source, reason, message FROM jobs
            WHERE run = (SELECT max(id) FROM runs) AND state = 'failed' ORDER BY id
            """,
        )
        return [
            *refused,
            *((printable(one.source), one.reason, printable(one.message)) for one in failed),
        ]

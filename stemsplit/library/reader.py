"""Runs in the supervisor. The journal of an output folder, for whoever reads it.

That is the run that writes it (`stemsplit.library.journal`), a plan, and whoever looks on meanwhile
or afterwards.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stemsplit.job import Reason, count_kinds
from stemsplit.library.database import Database
from stemsplit.library.probe import Probe
from stemsplit.library.records import (
    JobState,
    Owned,
    Past,
    Record,
    Run,
    Wanted,
    place_of,
    warnings_of,
)
from stemsplit.text import printable

if TYPE_CHECKING:
    from collections import Counter

    from stemsplit.job import Job, Settings, WarningKind

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


class JournalReader(Database):
    """What is known of an output folder's tracks. As `Database` otherwise."""

    def place_of(self, job: Job) -> bytes:
        """Give what a job is found by; see `stemsplit.library.records.place_of`."""
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
        with self._told():
            return {
                row[0]: Record(
                    source=row[1],
                    wanted=_wanted(row[2], row[3], row[4], row[13]),
                    published=None if row[7] is None else _wanted(row[5], row[6], row[7], row[14]),
                    version=row[8],
                    state=JobState(row[9]),
                    reason=None if row[10] is None else Reason(row[10]),
                    message=row[11],
                    remedy=row[12],
                )
                for row in self._db.execute(query)
            }

    def owned(self) -> dict[bytes, Owned]:
        """Give the files that may be replaced, by their paths below the output folder."""
        query = """
            SELECT path, place, size_bytes, modified_ns FROM stems JOIN jobs ON jobs.id = stems.job
        """
        with self._told():
            return {
                path: Owned(place=place, mark=(size, modified))
                for path, place, size, modified in self._db.execute(query)
            }

    def stems(self) -> frozenset[bytes]:
        """Give the files that were separated, and not only converted, by their paths."""
        rows = self._rows(
            """
            SELECT path FROM stems JOIN jobs ON jobs.id = stems.job
            WHERE coalesce(published_settings, settings) NOT LIKE '%"what":"conversion"%'
            """
        )
        return frozenset(path for (path,) in rows)

    def probes(self) -> dict[bytes, Probe]:
        """Give the first looks into files that were kept."""
        with self._told():
            rows = self._db.execute("SELECT source, look FROM probes")
            return {source: _probe.decode(look) for source, look in rows}

    def past(self, settings: Settings, *, preloaded: bool, limit: int = 50) -> list[Past]:
        """Give the last finished attempts of this machine with the same model, oldest first."""
        here = "AND node = ''" if self.version >= _KNOWS_NODES else ""
        rows = self._rows(
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
        names = ("lean", "threads", "private_bytes", "audio_seconds", "seconds")
        return [Past(**dict(zip(names, row, strict=True))) for row in reversed(rows)]

    def counts(self) -> dict[JobState, tuple[int, float]]:
        """Count the last run's jobs in each state, with their seconds of audio."""
        rows = self._rows(
            """
            SELECT state, count(*), total(coalesce(audio_seconds, predicted_seconds)) FROM jobs
            WHERE run = (SELECT max(id) FROM runs) GROUP BY state
            """
        )
        return {JobState(state): (count, seconds) for state, count, seconds in rows}

    def warned(self) -> Counter[WarningKind]:
        """Count the last run's done jobs that have a warning of each kind."""
        if self.version < _HAS_WARNINGS:
            return count_kinds(())
        rows = self._rows(
            """
            SELECT warnings FROM jobs
            WHERE run = (SELECT max(id) FROM runs) AND state = 'done' AND warnings <> '[]'
            """
        )
        return count_kinds(warnings_of(text) for (text,) in rows)

    def left_earlier(self) -> int:
        """Count the jobs of earlier runs that are neither done nor failed."""
        rows = self._rows(
            """
            SELECT count(*) FROM jobs
            WHERE run < (SELECT max(id) FROM runs) AND state NOT IN ('done', 'failed')
            """
        )
        return int(rows[0][0])

    def last_run(self) -> Run | None:
        """Give the last run, None if there was none."""
        rows = self._rows(
            """
            SELECT began, ended, version, host, pid, exit_code, unrecorded, overwrite FROM runs
            ORDER BY id DESC LIMIT 1
            """
        )
        names = (
            "began", "ended", "version", "host", "pid", "exit_code", "unrecorded", "overwrite"
        )  # fmt: skip
        return Run(**dict(zip(names, rows[0], strict=True))) if rows else None

    def failures(self) -> list[tuple[str, str, str]]:
        """List the last run's failures: source, printable; reason; message."""
        rows = self._rows("SELECT refused FROM runs ORDER BY id DESC LIMIT 1")
        refused: list[tuple[str, str, str]] = (
            msgspec.json.decode(rows[0][0], type=list[tuple[str, str, str]]) if rows else []
        )
        failed = self._rows(
            """
            SELECT source, reason, message FROM jobs
            WHERE run = (SELECT max(id) FROM runs) AND state = 'failed' ORDER BY id
            """
        )
        return refused + [(printable(source), reason, text) for source, reason, text in failed]

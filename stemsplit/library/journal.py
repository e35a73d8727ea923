"""Runs in the supervisor. The journal of an output folder: what was asked, tried and done.

An SQLite database with one writer, who holds the folder's lock. It keeps SQLite's rollback journal,
because the other kind does not work on network folders, and `synchronous=EXTRA`, which is FULL and
the folder as well: what is committed survives a power cut. Others may read it meanwhile. Paths of
stems are kept relative to the output folder, so that it can be moved; those of sources absolute.

The state of a job: `waiting` until a child is started, `running`, `publishing` from the moment that
its stems are checked and on disk until they are all in place, then `done` or `failed`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from stemsplit.errors import DiskFullError, OutputExistsError, StemsplitError, UnwritableError
from stemsplit.job import Reason
from stemsplit.library.probe import Probe
from stemsplit.library.publish import refused
from stemsplit.library.records import (
    JobState,
    Owned,
    Past,
    Record,
    Run,
    Stem,
    Unfinished,
    Wanted,
    mark_of,
    place_of,
    same_mark,
    settings_key,
)
from stemsplit.library.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from stemsplit.text import printable, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stemsplit.job import Attempt, Effort, Job, Outcome, Settings
    from stemsplit.library.records import Entry, Summary


def _uri(path: Path) -> str:
    """Give a path as SQLite takes it; one of Windows' network shares has two slashes more."""
    uri = path.absolute().as_uri()
    return uri if uri.startswith("file:///") else uri.replace("file://", "file:////", 1)


_BUSY_SECONDS = 20.0
"""So long another program may hold the database before that is an error."""

_stems = msgspec.msgpack.Decoder(tuple[Stem, ...])
_probe = msgspec.msgpack.Decoder(Probe)


class Journal:
    """The journal of one output folder; a context manager that closes it.

    Args:
        path: the database; made if need be, its folder being there.
        output: the folder for all stems.
        writable: whether this is the one writer.

    Raises:
        StemsplitError: if it cannot be opened, is damaged, or is of a newer stemsplit.
    """

    def __init__(self, path: Path, output: Path, *, writable: bool) -> None:
        """Open it, and bring an older schema up to date."""
        self._path = path
        self._output = os.fsencode(output)
        self._run = 0
        mode = "rwc" if writable else "rw"  # a reader may have to clean up after a crash
        with self._told():
            self._db = sqlite3.connect(
                f"{_uri(path)}?mode={mode}",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._prepare(writable=writable)
            except BaseException:
                self._db.close()
                raise

    def _prepare(self, *, writable: bool) -> None:
        self._db.execute("PRAGMA foreign_keys = ON")
        version = self.version
        if version > SCHEMA_VERSION:
            raise StemsplitError(
                f"The journal {quoted(self._path)} was written by a newer stemsplit.",
                "Update stemsplit, or name another folder with -o.",
            )
        if not writable:
            return
        self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.execute("PRAGMA synchronous = EXTRA")
        self._db.execute("PRAGMA fullfsync = ON")  # macOS: through the disk's own cache too
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            self._db.executescript(
                f"BEGIN IMMEDIATE; {script}; PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {number}; COMMIT;"
            )

    @classmethod
    def read(cls, path: Path, output: Path) -> Self | None:
        """Open it for looking on; None if there is none yet.

        Raises:
            StemsplitError: as the class.
        """
        try:
            if not path.exists():
                return None
        except OSError as error:
            raise UnwritableError(
                f"{quoted(path)} cannot be read ({error.strerror}).", "Check the permissions."
            ) from error
        journal = cls(path, output, writable=False)
        if journal.version == 0:  # it is just being made, or that was interrupted
            journal.__exit__()
            return None
        return journal

    @property
    def version(self) -> int:
        """The schema's; 0 before there is one."""
        with self._told():
            return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close it."""
        self._db.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise  # a fault of this module's
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.DatabaseError) -> StemsplitError:
        where = f"The journal {quoted(self._path)}"
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_FULL:
                return DiskFullError(
                    "The disk of the output folder is full.",
                    "Make room, or name another folder with -o, and run the same command again.",
                )
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                return StemsplitError(
                    f"{where} is damaged ({error}).",
                    "Move it away and run the same command again: stems that are there are then "
                    "left as they are.",
                )
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return UnwritableError(
                    f"{where} is held by another program.",
                    "Close that, and run the same command again.",
                )
        return UnwritableError(
            f"{where} cannot be written ({error}).",
            "Check the folder's permissions and the disk, or name another folder with -o.",
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit all that is done within, or nothing of it."""
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # After some errors (a full disk) SQLite has rolled back by itself.
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._told():
            return self._db.execute(query, values).fetchall()

    def place_of(self, job: Job) -> bytes:
        """Give what a job is found by; see `stemsplit.library.records.place_of`."""
        return place_of(job, Path(os.fsdecode(self._output)))

    def _below(self, path: bytes) -> bytes:
        return os.path.relpath(path, self._output)

    # What is known

    def records(self) -> dict[bytes, Record]:
        """Give all that is known of jobs, by their places."""
        query = """
            SELECT place, source, source_bytes, source_modified_ns, settings, published_bytes,
                published_modified_ns, published_settings, version, state, reason, message, remedy
            FROM jobs
        """
        with self._told():
            return {
                row[0]: Record(
                    source=row[1],
                    wanted=Wanted(source_bytes=row[2], source_modified_ns=row[3], settings=row[4]),
                    published=None
                    if row[7] is None
                    else Wanted(source_bytes=row[5], source_modified_ns=row[6], settings=row[7]),
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
        rows = self._rows(
            """
            SELECT lean, threads, private_bytes, attempts.audio_seconds, attempts.seconds
            FROM attempts JOIN runs ON runs.id = attempts.run
            WHERE reason = 'done' AND attempts.audio_seconds > 0 AND host = ? AND model = ?
                AND engine = ? AND preloaded = ?
            ORDER BY attempts.id DESC LIMIT ?
            """,
            socket.gethostname(),
            settings.model,
            settings.loader,
            preloaded,
            limit,
        )
        names = ("lean", "threads", "private_bytes", "audio_seconds", "seconds")
        return [Past(**dict(zip(names, row, strict=True))) for row in reversed(rows)]

    def unfinished(self) -> list[Unfinished]:
        """List what a dead run has left; for whoever holds the lock, before a run begins."""
        rows = self._rows(
            """
            SELECT place, state, coming, work_folder
            FROM jobs JOIN attempts ON attempts.job = jobs.id
            WHERE attempts.reason IS NULL ORDER BY attempts.id
            """
        )
        found: dict[bytes, Unfinished] = {}
        for place, state, coming, work_folder in rows:
            folder = Path(os.fsdecode(os.path.join(self._output, work_folder)))
            earlier = found[place].work_folders if place in found else ()
            found[place] = Unfinished(
                place=place,
                state=JobState(state),
                coming=_stems.decode(coming) if coming else (),
                work_folders=(*earlier, folder),
            )
        return list(found.values())

    # What happens

    def recovered(self, ended: Mapping[bytes, JobState]) -> None:
        """Close the accounts of a dead run.

        Args:
            ended: what each unfinished job has become.
        """
        with self._transaction() as db:
            for place, state in ended.items():
                done = state is JobState.DONE
                db.execute(
                    "UPDATE jobs SET state = ?, reason = ? WHERE place = ?",
                    (state, Reason.DONE if done else None, place),
                )
                if done:
                    self._note_published(db, place)
                else:
                    self._note_own(db, place)
                db.execute(
                    """
                    UPDATE attempts SET reason = ?, message = 'It was not finished.'
                    WHERE reason IS NULL AND job = (SELECT id FROM jobs WHERE place = ?)
                    """,
                    (Reason.DONE if done else Reason.CANCELLED, place),
                )

    def remember(self, probes: Mapping[bytes, Probe]) -> None:
        """Keep first looks into files."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO probes VALUES (?, ?)",
                ((source, msgspec.msgpack.encode(look)) for source, look in probes.items()),
            )

    def begin_run(
        self,
        settings: Settings,
        entries: Sequence[Entry],
        *,
        version: str,
        unrecorded: int = 0,
        refused: Sequence[tuple[str, str, str]] = (),
        overwrite: bool = False,
    ) -> None:
        """Begin a run and enlist its jobs; what was known of them otherwise stays.

        Args:
            settings: of the run.
            entries: its jobs.
            version: of stemsplit.
            unrecorded: how many tracks were left whose stems are in no journal.
            refused: source, reason and message of each input that is no job.
            overwrite: whether everything is done again.
        """
        with self._transaction() as db:
            self._run = int(
                db.execute(
                    """
                    INSERT INTO runs (began, version, host, pid, settings, unrecorded, refused,
                        overwrite)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                    (
                        time.time(),
                        version,
                        socket.gethostname(),
                        os.getpid(),
                        settings_key(settings),
                        unrecorded,
                        msgspec.json.encode(refused).decode(),
                        overwrite,
                    ),
                ).lastrowid
                or 0
            )
            db.executemany(
                """
                INSERT INTO jobs (place, run, source, source_bytes, source_modified_ns, settings,
                    version, state, predicted_seconds)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (place) DO UPDATE SET run = excluded.run, source = excluded.source,
                    source_bytes = excluded.source_bytes,
                    source_modified_ns = excluded.source_modified_ns, settings = excluded.settings,
                    version = excluded.version, state = excluded.state,
                    predicted_seconds = excluded.predicted_seconds
                """,
                (
                    (
                        self.place_of(entry.job),
                        self._run,
                        os.path.abspath(entry.job.source),
                        entry.wanted.source_bytes,
                        entry.wanted.source_modified_ns,
                        entry.wanted.settings,
                        version,
                        entry.state,
                        entry.predicted_seconds,
                    )
                    for entry in entries
                    if entry.state is JobState.WAITING
                ),
            )
            db.executemany(
                "UPDATE jobs SET run = ?, source = ?, state = ? WHERE place = ?",
                (
                    (
                        self._run,
                        os.path.abspath(entry.job.source),
                        entry.state,
                        self.place_of(entry.job),
                    )
                    for entry in entries
                    if entry.state is not JobState.WAITING
                ),
            )
            for entry in entries:
                if entry.agreed is not None:
                    self._note_agreed(db, self.place_of(entry.job), entry.agreed)

    @staticmethod
    def _note_agreed(
        db: sqlite3.Connection, place: bytes, agreed: Mapping[bytes, tuple[int, int]]
    ) -> None:
        """Note that a job is not done whatever is there, and which files it may replace."""
        db.execute("UPDATE jobs SET published_settings = NULL WHERE place = ?", (place,))
        db.executemany(
            """
            INSERT OR REPLACE INTO stems (path, job, size_bytes, modified_ns)
            SELECT ?, id, ?, ? FROM jobs WHERE place = ?
            """,
            ((path, *mark, place) for path, mark in agreed.items()),
        )

    def attempt_begins(
        self,
        job: Job,
        settings: Settings,
        effort: Effort,
        *,
        number: int,
        work: Path,
        preloaded: bool,
    ) -> None:
        """Note that a child will be started, before its work folder is made."""
        place = self.place_of(job)
        with self._transaction() as db:
            db.execute("UPDATE jobs SET state = 'running' WHERE place = ?", (place,))
            db.execute(
                """
                INSERT INTO attempts (job, run, number, began, work_folder, model, engine, threads,
                    lean, alone, preloaded)
                SELECT id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM jobs WHERE place = ?
                """,
                (
                    self._run,
                    number,
                    time.time(),
                    self._below(os.fsencode(work)),
                    settings.model,
                    settings.loader,
                    effort.threads,
                    effort.lean,
                    effort.alone,
                    preloaded,
                    place,
                ),
            )

    def publishing(
        self, job: Job, moves: Mapping[str, Path], work: Path, *, overwrite: bool
    ) -> None:
        """Note that a track's stems are checked and on disk, and about to be shown.

        Args:
            job: the track.
            moves: for each file in the work folder, the path to be shown as.
            work: the work folder.
            overwrite: whether they may replace whatever is there.

        Raises:
            OutputExistsError: if they may not, and a file is there that is not this job's or was
                changed since.
            UnwritableError, DiskFullError: if a file is not there, or this cannot be noted.
        """
        place, coming = self.place_of(job), []
        try:
            for name, path in moves.items():
                status = (work / name).stat()
                below = self._below(os.fsencode(path))
                coming.append(Stem(name, below, status.st_size, status.st_mtime_ns))
            strange = None if overwrite else self._strange(place, coming, some_shown=False)
        except OSError as error:
            raise refused(work, error) from error
        if strange is not None:
            raise OutputExistsError(
                f"{quoted(os.path.join(self._output, strange))} was made or changed by somebody "
                "while the track was separated.",
                "Use --overwrite to replace it, or another folder with -o.",
            )
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'publishing', coming = ? WHERE place = ?",
                (msgspec.msgpack.encode(coming), place),
            )

    def _strange(self, place: bytes, coming: Sequence[Stem], *, some_shown: bool) -> bytes | None:
        """Find a file in the way that is not this job's, nor one of those coming if some are shown.

        Gives its path below the output folder, None if there is none.
        """
        for stem in coming:
            mark = mark_of(os.path.join(self._output, stem.path))
            if mark is None or (some_shown and same_mark(mark, stem.mark)):
                continue
            rows = self._rows(
                """
                SELECT place, size_bytes, modified_ns FROM stems JOIN jobs ON jobs.id = stems.job
                WHERE path = ?
                """,
                stem.path,
            )
            if not rows or rows[0][0] != place or not same_mark(rows[0][1:], mark):
                return stem.path
        return None

    def may_show(self, place: bytes, coming: Sequence[Stem]) -> bool:
        """Tell whether stems of a dead run may still be shown: nobody's file is in their way."""
        try:
            return self._strange(place, coming, some_shown=True) is None
        except OSError:
            return False

    def taken_back(self, job: Job) -> None:
        """Note that stems were not shown after all, none of them."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'running', coming = NULL WHERE place = ?",
                (self.place_of(job),),
            )

    def _note_own(self, db: sqlite3.Connection, place: bytes) -> None:
        """Note that those of the coming stems that are in place are ours, so that they can go."""
        row = db.execute("SELECT id, coming FROM jobs WHERE place = ?", (place,)).fetchone()
        job, coming = row
        stems = _stems.decode(coming) if coming else ()
        db.executemany(
            "INSERT OR REPLACE INTO stems (path, job, size_bytes, modified_ns) VALUES (?, ?, ?, ?)",
            ((stem.path, job, *stem.mark) for stem in stems if stem.is_at(self._output)),
        )
        db.execute("UPDATE jobs SET coming = NULL WHERE id = ?", (job,))

    def _note_published(self, db: sqlite3.Connection, place: bytes) -> None:
        """Note that the stems that were coming are all in place."""
        row = db.execute("SELECT id, coming FROM jobs WHERE place = ?", (place,)).fetchone()
        job, coming = row
        db.executemany(
            "INSERT OR REPLACE INTO stems (path, job, size_bytes, modified_ns) VALUES (?, ?, ?, ?)",
            ((stem.path, job, *stem.mark) for stem in _stems.decode(coming)),
        )
        db.execute(
            """
            UPDATE jobs SET coming = NULL, published_settings = settings,
                published_bytes = source_bytes, published_modified_ns = source_modified_ns
            WHERE id = ?
            """,
            (job,),
        )

    def attempt_ended(self, job: Job, attempt: Attempt) -> None:
        """Note how an attempt went that another one follows."""
        with self._transaction() as db:
            self._end_attempt(db, self.place_of(job), attempt, 0.0)
            db.execute("UPDATE jobs SET state = 'waiting' WHERE place = ?", (self.place_of(job),))

    def settled(self, outcome: Outcome) -> None:
        """Note how a track ended.

        One that has failed while some of its stems were shown already stays `publishing`, with its
        attempt open, for `stemsplit.library.recovery`.
        """
        place = self.place_of(outcome.job)
        done = outcome.reason is Reason.DONE
        with self._transaction() as db:
            state = db.execute("SELECT state FROM jobs WHERE place = ?", (place,)).fetchone()[0]
            if not done and state == JobState.PUBLISHING:
                db.execute(
                    "UPDATE jobs SET reason = ?, message = ?, remedy = ? WHERE place = ?",
                    (outcome.reason, outcome.message, outcome.remedy, place),
                )
                return
            if outcome.attempts:
                self._end_attempt(db, place, outcome.attempts[-1], outcome.audio_seconds)
            db.execute(
                """
                UPDATE jobs SET state = ?, reason = ?, message = ?, remedy = ?, audio_seconds = ?
                WHERE place = ?
                """,
                (
                    JobState.DONE if done else JobState.FAILED,
                    outcome.reason,
                    outcome.message,
                    outcome.remedy,
                    outcome.audio_seconds if done else None,
                    place,
                ),
            )
            if done:
                self._note_published(db, place)

    def end_run(self, summary: Summary) -> None:
        """Note how the run ended."""
        with self._transaction() as db:
            db.execute(
                """
                UPDATE runs SET ended = ?, exit_code = ?, seconds = ?, audio_seconds = ?,
                    peak_memory_bytes = ? WHERE id = ?
                """,
                (
                    time.time(),
                    summary.exit_code,
                    summary.seconds,
                    summary.audio_seconds,
                    summary.peak_memory_bytes,
                    self._run,
                ),
            )

    def _end_attempt(
        self, db: sqlite3.Connection, place: bytes, attempt: Attempt, audio_seconds: float
    ) -> None:
        db.execute(
            """
            UPDATE attempts SET reason = ?, message = ?, exit_code = ?, seconds = ?,
                audio_seconds = ?, peak_pss_bytes = ?, private_bytes = ?, peak_rss_bytes = ?,
                log_file = ?
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
                attempt.log_file,
                place,
            ),
        )

    # For whoever looks on

    def counts(self) -> dict[JobState, tuple[int, float]]:
        """Count the last run's jobs in each state, with their seconds of audio."""
        rows = self._rows(
            """
            SELECT state, count(*), total(coalesce(audio_seconds, predicted_seconds)) FROM jobs
            WHERE run = (SELECT max(id) FROM runs) GROUP BY state
            """
        )
        return {JobState(state): (count, seconds) for state, count, seconds in rows}

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
        refused = msgspec.json.decode(rows[0][0], type=list[tuple[str, str, str]]) if rows else []
        failed = self._rows(
            """
            SELECT source, reason, message FROM jobs
            WHERE run = (SELECT max(id) FROM runs) AND state = 'failed' ORDER BY id
            """
        )
        return refused + [(printable(source), reason, text) for source, reason, text in failed]

"""Runs in the supervisor. The journal of an output folder: what was asked, tried and done.

An SQLite database with one writer, who holds the folder's lock. It keeps SQLite's rollback journal,
because the other kind does not work on network folders, and `synchronous=FULL`: what is committed
survives a power cut. Others may read it meanwhile. Paths of stems are kept relative to the output
folder, so that it can be moved; those of sources as they were given, made absolute.

The state of a job: `waiting` until a child is started, `running`, `publishing` from the moment that
its stems are checked and on disk until they are all in place, then `done` or `failed`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from stemsplit.errors import DiskFullError, StemsplitError, UnwritableError
from stemsplit.job import Reason
from stemsplit.library.probe import Probe
from stemsplit.library.publish import refused
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stemsplit.job import Attempt, Effort, Job, Outcome, Settings

SCHEMA_VERSION = 1

_APPLICATION_ID = 0x73_74_65_6D  # b"stem"
"""Marks the file as ours (SQLite's `application_id`)."""

_MIGRATIONS = (
    # 0 -> 1
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        began REAL NOT NULL,            -- seconds since 1970
        ended REAL,                     -- null while it runs, and if it was killed
        version TEXT NOT NULL,          -- of stemsplit
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        settings TEXT NOT NULL,         -- JSON
        exit_code INTEGER,
        seconds REAL,
        audio_seconds REAL,
        peak_memory_bytes INTEGER
    );
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY,
        place BLOB NOT NULL UNIQUE,     -- the first stem's path below the output folder
        run INTEGER NOT NULL REFERENCES runs,
        source BLOB NOT NULL,
        source_bytes INTEGER NOT NULL,
        source_modified_ns INTEGER NOT NULL,
        settings TEXT NOT NULL,         -- JSON
        version TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,                    -- of the last attempt, as in docs/errors.md
        message TEXT NOT NULL DEFAULT '',
        remedy TEXT NOT NULL DEFAULT '',
        predicted_seconds REAL,         -- of audio
        audio_seconds REAL,             -- as separated
        stems BLOB NOT NULL,            -- as last published: MessagePack of tuple[Stem, ...]
        coming BLOB                     -- as they are being published: likewise
    );
    CREATE INDEX jobs_of_run ON jobs (run, state);
    CREATE TABLE attempts (
        id INTEGER PRIMARY KEY,
        job INTEGER NOT NULL REFERENCES jobs,
        run INTEGER NOT NULL REFERENCES runs,
        number INTEGER NOT NULL,
        began REAL NOT NULL,
        work_folder BLOB NOT NULL,      -- below the output folder
        model TEXT NOT NULL,
        engine TEXT NOT NULL,
        threads INTEGER NOT NULL,
        lean INTEGER NOT NULL,
        alone INTEGER NOT NULL,
        preloaded INTEGER NOT NULL,
        reason TEXT,                    -- null while it runs
        message TEXT NOT NULL DEFAULT '',
        exit_code INTEGER,
        seconds REAL,
        audio_seconds REAL,
        peak_pss_bytes INTEGER,
        private_bytes INTEGER,
        peak_rss_bytes INTEGER,
        log_file TEXT
    );
    CREATE INDEX unfinished_attempts ON attempts (reason) WHERE reason IS NULL;
    CREATE TABLE probes (
        source BLOB PRIMARY KEY,
        look BLOB NOT NULL              -- MessagePack of a Probe
    ) WITHOUT ROWID;
    """,
)


class JobState(StrEnum):
    """How far a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    PUBLISHING = "publishing"
    DONE = "done"
    FAILED = "failed"


class Stem(msgspec.Struct, frozen=True, array_like=True):
    """A stem's file.

    Attributes:
        work_name: its file in the work folder.
        path: its file below the output folder.
        size_bytes, modified_ns: what tells it from one that somebody has changed.
    """

    work_name: str
    path: bytes
    size_bytes: int
    modified_ns: int

    def is_at(self, output: bytes) -> bool:
        """Tell whether the very file that was published is in its place."""
        try:
            status = os.stat(os.path.join(output, self.path))
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size_bytes, self.modified_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the journal knows of the job at one place.

    Attributes:
        source: the audio file, absolute.
        source_bytes, source_modified_ns: of the source, when it was enlisted.
        settings: as `settings_key` gives them.
        version: of stemsplit, when it was last tried.
        state: how far it is.
        reason: of its last end; None if it never ended.
        message, remedy: of a failure.
        stems: as they were last published; empty if never.
    """

    source: bytes
    source_bytes: int
    source_modified_ns: int
    settings: str
    version: str
    state: JobState
    reason: Reason | None
    message: str
    remedy: str
    stems: tuple[Stem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A job to be enlisted.

    Attributes:
        job: the track.
        source_bytes, source_modified_ns: of the source, now.
        predicted_seconds: of audio.
        state: `waiting`, or what an earlier run has left.
    """

    job: Job
    source_bytes: int
    source_modified_ns: int
    predicted_seconds: float
    state: JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A finished attempt of an earlier run on this machine, for predictions."""

    lean: bool
    threads: int
    private_bytes: int | None
    audio_seconds: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """What a dead run has left.

    Attributes:
        place: of the job.
        state: that it had.
        coming: the stems that were being published.
        work_folders: of its attempts that have no end.
    """

    place: bytes
    state: JobState
    coming: tuple[Stem, ...]
    work_folders: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the command; see the schema."""

    began: float
    ended: float | None
    version: str
    host: str
    pid: int
    exit_code: int | None


class Summary(Protocol):
    """What the journal keeps of a run's end; `stemsplit.events.BatchDone` is one."""

    @property
    def exit_code(self) -> int:
        """What the command returns."""

    @property
    def seconds(self) -> float:
        """Wall time of the batch."""

    @property
    def audio_seconds(self) -> float:
        """Audio separated in it."""

    @property
    def peak_memory_bytes(self) -> int | None:
        """Of all processes together."""


def settings_key(settings: Settings) -> str:
    """Give what of the settings the stems depend on, in a form that can be compared."""
    return msgspec.json.encode(
        {
            "model": settings.model,
            "format": settings.format,
            "bit_depth": settings.bit_depth,
            "tags": settings.tags,
            "engine": settings.engine,
        },
        order="sorted",
    ).decode()


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
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=30,
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
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise StemsplitError(
                f"The journal {quoted(self._path)} was written by a newer stemsplit.",
                "Update stemsplit, or name another folder with -o.",
            )
        if not writable:
            return
        self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA fullfsync = ON")  # macOS: through the disk's own cache too
        for number, script in enumerate(_MIGRATIONS[version:], version + 1):
            self._db.executescript(
                f"BEGIN IMMEDIATE; {script}; PRAGMA application_id = {_APPLICATION_ID};"
                f"PRAGMA user_version = {number}; COMMIT;"
            )

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
                return StemsplitError(
                    f"{where} is held by another program.", "Close that, and try again."
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
        """Give what a job is found by: its first stem's path below the output folder."""
        return self._below(os.path.join(job.destination, job.files[0]))

    def _below(self, path: bytes) -> bytes:
        return os.path.relpath(path, self._output)

    # What is known

    def records(self) -> dict[bytes, Record]:
        """Give all that is known of jobs, by their places."""
        query = """
            SELECT place, source, source_bytes, source_modified_ns, settings, version, state,
                reason, message, remedy, stems FROM jobs
        """
        with self._told():
            rows = self._db.execute(query)
            return {
                place: Record(
                    source=source,
                    source_bytes=size,
                    source_modified_ns=modified,
                    settings=settings,
                    version=version,
                    state=JobState(state),
                    reason=None if reason is None else Reason(reason),
                    message=message,
                    remedy=remedy,
                    stems=_stems.decode(stems),
                )
                for (
                    place,
                    source,
                    size,
                    modified,
                    settings,
                    version,
                    state,
                    reason,
                    message,
                    remedy,
                    stems,
                ) in rows
            }

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
            settings.engine,
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
                    db.execute("UPDATE jobs SET stems = coming WHERE place = ?", (place,))
                db.execute(
                    """
                    UPDATE attempts SET reason = ?, message = 'The run was killed.'
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

    def begin_run(self, settings: Settings, entries: Sequence[Entry], *, version: str) -> None:
        """Begin a run and enlist its jobs; what was known of them otherwise stays."""
        key = settings_key(settings)
        with self._transaction() as db:
            self._run = int(
                db.execute(
                    "INSERT INTO runs (began, version, host, pid, settings) VALUES (?, ?, ?, ?, ?)",
                    (time.time(), version, socket.gethostname(), os.getpid(), key),
                ).lastrowid
                or 0
            )
            db.executemany(
                """
                INSERT INTO jobs (place, run, source, source_bytes, source_modified_ns, settings,
                    version, state, predicted_seconds, stems)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (place) DO UPDATE SET run = excluded.run, source = excluded.source,
                    source_bytes = excluded.source_bytes,
                    source_modified_ns = excluded.source_modified_ns, settings = excluded.settings,
                    version = excluded.version, state = excluded.state,
                    predicted_seconds = excluded.predicted_seconds
                """,
                (
                    self._row(entry, key, version)
                    for entry in entries
                    if entry.state is JobState.WAITING
                ),
            )
            db.executemany(
                "UPDATE jobs SET run = ? WHERE place = ?",
                (
                    (self._run, self.place_of(entry.job))
                    for entry in entries
                    if entry.state is not JobState.WAITING
                ),
            )

    def _row(self, entry: Entry, key: str, version: str) -> tuple[object, ...]:
        return (
            self.place_of(entry.job),
            self._run,
            os.path.abspath(entry.job.source),
            entry.source_bytes,
            entry.source_modified_ns,
            key,
            version,
            entry.state,
            entry.predicted_seconds,
            msgspec.msgpack.encode(()),
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
                    settings.engine,
                    effort.threads,
                    effort.lean,
                    effort.alone,
                    preloaded,
                    place,
                ),
            )

    def publishing(self, job: Job, moves: Mapping[str, Path], work: Path) -> None:
        """Note that a track's stems are checked and on disk, and about to be shown.

        Args:
            job: the track.
            moves: for each file in the work folder, the path to be shown as.
            work: the work folder.

        Raises:
            UnwritableError, DiskFullError: if a file is not there, or this cannot be noted.
        """
        stems = []
        for name, path in moves.items():
            try:
                status = (work / name).stat()
            except OSError as error:
                raise refused(work, error) from error
            below = self._below(os.fsencode(path))
            stems.append(Stem(name, below, status.st_size, status.st_mtime_ns))
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'publishing', coming = ? WHERE place = ?",
                (msgspec.msgpack.encode(stems), self.place_of(job)),
            )

    def attempt_ended(self, job: Job, attempt: Attempt) -> None:
        """Note how an attempt went that another one follows."""
        with self._transaction() as db:
            self._end_attempt(db, self.place_of(job), attempt, 0.0)
            db.execute("UPDATE jobs SET state = 'waiting' WHERE place = ?", (self.place_of(job),))

    def settled(self, outcome: Outcome) -> None:
        """Note how a track ended."""
        place = self.place_of(outcome.job)
        done = outcome.reason is Reason.DONE
        with self._transaction() as db:
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
                db.execute("UPDATE jobs SET stems = coming WHERE place = ?", (place,))

    def withdrawn(self) -> None:
        """Note that attempts of this run which have no end were taken back."""
        with self._transaction() as db:
            db.execute(
                """
                UPDATE attempts SET reason = ?, message = 'It was not finished.'
                WHERE reason IS NULL AND run = ?
                """,
                (Reason.CANCELLED, self._run),
            )
            db.execute(
                "UPDATE jobs SET state = 'waiting' WHERE state = 'running' AND run = ?",
                (self._run,),
            )

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

    def last_run(self) -> Run | None:
        """Give the last run, None if there was none."""
        rows = self._rows(
            """
            SELECT began, ended, version, host, pid, exit_code FROM runs ORDER BY id DESC LIMIT 1
            """
        )
        names = ("began", "ended", "version", "host", "pid", "exit_code")
        return Run(**dict(zip(names, rows[0], strict=True))) if rows else None

    def failures(self) -> list[tuple[bytes, str, str]]:
        """List the last run's failures: source, reason, message."""
        rows = self._rows(
            """
            SELECT source, reason, message FROM jobs
            WHERE run = (SELECT max(id) FROM runs) AND state = 'failed' ORDER BY id
            """
        )
        return [(source, reason, message) for source, reason, message in rows]

"""Runs in the supervisor. The journal of an output folder: what was asked, tried and done.

Paths of stems are kept relative to the output folder, so that it can be moved; those of sources
absolute.

The state of a job: `waiting` until a child is started, `running`, `publishing` from the moment that
its stems are checked and on disk until they are all in place, then `done` or `failed`.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from stemsplit.core.errors import OutputExistsError
from stemsplit.core.outcome import Reason
from stemsplit.core.text import printable, quoted
from stemsplit.journal.reader import JournalReader
from stemsplit.journal.records import (
    JobState,
    Unfinished,
    coming_of,
    mark_of,
    same_stem,
    settings_key,
)
from stemsplit.storage import remote
from stemsplit.storage.publish import STAGING_PREFIX, refused
from stemsplit.storage.untrusted import leads_out, require_inside

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from stemsplit.core.job import Job
    from stemsplit.core.limits import Resources
    from stemsplit.core.outcome import Attempt, Outcome, TrackWarning
    from stemsplit.core.probe import Probe
    from stemsplit.core.settings import Settings
    from stemsplit.core.time_series import TimeSeries
    from stemsplit.journal.records import Entry, Stem, Summary


class _UnfinishedRow(NamedTuple):
    place: bytes
    state: JobState
    coming: bytes | None
    staging_folder: bytes


class _StagingRow(NamedTuple):
    staging_folder: bytes


class _OwnerRow(NamedTuple):
    place: bytes
    size_bytes: int
    modified_ns: int


class Journal(JournalReader):
    """The journal of one output folder, as its one writer has it.

    Args:
        path: the database; made if need be, its folder being there.
        output: the folder for all stems.

    Raises:
        StemsplitError: if it cannot be opened, is damaged, or is of a newer stemsplit.
    """

    def __init__(self, path: Path, output: Path) -> None:
        """Open it, and bring an older schema up to date."""
        super().__init__(path, output, writable=True)
        self._run = 0
        self._run_began = 0.0

    @property
    def run_seconds(self) -> float:
        """How long ago the run began, by the clock on the wall."""
        return max(time.time() - self._run_began, 0.0)

    def _below(self, path: bytes) -> bytes:
        return os.path.relpath(path, self._output)

    def unfinished(self, job: Job | None = None) -> list[Unfinished]:
        """List what a dead run has left, or what a dead node has of one job.

        For whoever holds the lock.
        """
        which, values = ("", ()) if job is None else ("AND place = ?", (self.place_of(job),))
        rows = self._read(
            _UnfinishedRow,
            f"""
            SELECT place, state, coming, work_folder
            FROM jobs JOIN attempts ON attempts.job = jobs.id
            WHERE attempts.reason IS NULL {which} ORDER BY attempts.id
            """,  # noqa: S608 - one of the two texts above
            *values,
        )
        found: dict[bytes, Unfinished] = {}
        for place, state, packed, staging_folder in rows:
            with self._told():
                require_inside(place)
                coming = coming_of(packed)
                folder = Path(os.fsdecode(self._path_of(require_inside(staging_folder))))
            earlier = found[place].staging_folders if place in found else ()
            found[place] = Unfinished(
                place=place, state=state, coming=coming, staging_folders=(*earlier, folder)
            )
        return [self._without_links(one) for one in found.values()]

    def ended_staging_folders(self) -> frozenset[str]:
        """Name the work folders of attempts that have ended; none of them is needed any more."""
        rows = self._read(_StagingRow, "SELECT work_folder FROM attempts WHERE reason IS NOT NULL")
        names = (os.fsdecode(os.path.basename(row.staging_folder)) for row in rows)
        return frozenset(name for name in names if name.startswith(STAGING_PREFIX))

    def _path_of(self, below: bytes) -> bytes:
        return os.path.join(self._output, below)

    def _without_links(self, one: Unfinished) -> Unfinished:
        """Give up what links lead out of the output folder: a stranger may have put them there.

        Nothing is moved or removed there then, and the track is separated again.
        """
        if remote.is_remote(self._output):
            return one
        folders = [
            os.path.relpath(os.fsencode(staging), self._output) for staging in one.staging_folders
        ]
        if any(leads_out(self._output, way) for way in (*folders, *(s.path for s in one.coming))):
            return replace(one, state=JobState.RUNNING, coming=(), staging_folders=())
        return one

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
        self._run_began = time.time()
        with self._transaction() as db:
            self._run = int(
                db.execute(
                    """
                    INSERT INTO runs (began, version, host, pid, settings, unrecorded, refused,
                        overwrite)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                    (
                        self._run_began,
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
                        self.place_of(entry.job),
                        self._run,
                        os.path.abspath(entry.job.source),
                        entry.wanted.source_bytes,
                        entry.wanted.source_modified_ns,
                        entry.wanted.sample or None,
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
            self._note_samples(db, entries)
            for entry in entries:
                if entry.agreed is not None:
                    self._note_agreed(db, self.place_of(entry.job), entry.agreed)

    def _note_samples(self, db: sqlite3.Connection, entries: Sequence[Entry]) -> None:
        """Note the samples of files that an earlier version knew by size and time alone."""
        for kind in ("source", "published"):
            db.executemany(
                f"""
                UPDATE jobs SET {kind}_sample = ? WHERE place = ? AND {kind}_sample IS NULL
                    AND {kind}_bytes = ? AND {kind}_modified_ns = ?
                """,  # noqa: S608 - one of the two names above
                (
                    (entry.wanted.sample, self.place_of(entry.job), *entry.wanted.source_mark)
                    for entry in entries
                    if entry.state is not JobState.WAITING and entry.wanted.sample
                ),
            )

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
        resources: Resources,
        *,
        number: int,
        staging_folder: Path,
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
                    self._below(os.fsencode(staging_folder)),
                    settings.model,
                    settings.loader,
                    resources.threads,
                    resources.lean,
                    resources.alone,
                    preloaded,
                    place,
                ),
            )

    def publishing(
        self,
        job: Job,
        coming: Sequence[Stem],
        *,
        overwrite: bool,
        warnings: Sequence[TrackWarning] = (),
    ) -> None:
        """Note that a track's stems are checked and on disk, and about to be shown.

        Args:
            job: the track.
            coming: its stems.
            overwrite: whether they may replace whatever is there.
            warnings: about the track, recorded here in case the run is killed before its end.

        Raises:
            OutputExistsError: if they may not, and a file is there that is not this job's or was
                changed since.
            UnwritableError, DiskFullError: if the places cannot be looked at, or this cannot be
                noted.
        """
        place = self.place_of(job)
        try:
            strange = None if overwrite else self._strange(place, coming, some_shown=False)
        except OSError as error:
            raise refused(job.destination_path, error) from error
        if strange is not None:
            raise OutputExistsError(
                f"{quoted(os.path.join(self._output, strange))} was made or changed by somebody "
                "while the track was separated.",
                "Use --overwrite to replace it, or another folder with -o.",
            )
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'publishing', coming = ?, warnings = ? WHERE place = ?",
                (
                    msgspec.msgpack.encode(coming),
                    msgspec.json.encode(warnings).decode(),
                    place,
                ),
            )

    def _strange(self, place: bytes, coming: Sequence[Stem], *, some_shown: bool) -> bytes | None:
        """Find a file in the way that is not this job's, nor one of those coming if some are shown.

        Gives its path below the output folder, None if there is none.
        """
        for stem in coming:
            mark = mark_of(os.path.join(self._output, stem.path))
            if mark is None or (some_shown and same_stem(mark, stem.mark)):
                continue
            rows = self._read(
                _OwnerRow,
                """
                SELECT place, size_bytes, modified_ns FROM stems JOIN jobs ON jobs.id = stems.job
                WHERE path = ?
                """,
                stem.path,
            )
            owner = rows[0] if rows else None
            if owner is None or owner.place != place:
                return stem.path
            if not same_stem((owner.size_bytes, owner.modified_ns), mark):
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

    def _job(self, db: sqlite3.Connection, place: bytes) -> tuple[int, bytes | None, str]:
        """Give a job's id, the stems that were being published, and its state."""
        row = db.execute("SELECT id, coming, state FROM jobs WHERE place = ?", (place,)).fetchone()
        if row is None:
            raise self._damaged("an index is not that of its table")
        return row  # type: ignore[no-any-return]

    def _note_own(self, db: sqlite3.Connection, place: bytes) -> None:
        """Note that those of the coming stems that are in place are ours, so that they can go."""
        job, coming, _ = self._job(db, place)
        stems = coming_of(coming)
        db.executemany(
            "INSERT OR REPLACE INTO stems (path, job, size_bytes, modified_ns) VALUES (?, ?, ?, ?)",
            ((stem.path, job, *stem.mark) for stem in stems if stem.is_at(self._output)),
        )
        db.execute("UPDATE jobs SET coming = NULL WHERE id = ?", (job,))

    def _note_published(self, db: sqlite3.Connection, place: bytes) -> None:
        """Note that the stems that were coming are all in place.

        Older ones that stay beside them, of another model for one, lose their numbers.
        """
        job, coming, _ = self._job(db, place)
        if coming is None:  # noted before, when what a dead node had left was brought in order
            return
        db.execute("UPDATE stems SET number = NULL WHERE job = ?", (job,))
        db.executemany(
            """
            INSERT OR REPLACE INTO stems (path, job, size_bytes, modified_ns, stem, number)
            VALUES (?, ?, ?, ?, ?, ?)
            """,
            (
                (stem.path, job, *stem.mark, stem.work_name.rpartition(".")[0], number)
                for number, stem in enumerate(coming_of(coming))
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

    def attempt_ended(self, job: Job, attempt: Attempt) -> None:
        """Note how an attempt went that another one follows."""
        with self._transaction() as db:
            self._end_attempt(db, self.place_of(job), attempt, 0.0)
            db.execute("UPDATE jobs SET state = 'waiting' WHERE place = ?", (self.place_of(job),))

    def settled(self, outcome: Outcome) -> None:
        """Note how a track ended.

        One that has failed while some of its stems were shown already stays `publishing`, with its
        attempt open, for `stemsplit.journal.recovery`.
        """
        place = self.place_of(outcome.job)
        done = outcome.reason is Reason.DONE
        with self._transaction() as db:
            _, _, state = self._job(db, place)
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
                UPDATE jobs SET state = ?, reason = ?, message = ?, remedy = ?, audio_seconds = ?,
                    warnings = ? WHERE place = ?
                """,
                (
                    JobState.DONE if done else JobState.FAILED,
                    outcome.reason,
                    outcome.message,
                    outcome.remedy,
                    outcome.audio_seconds if done else None,
                    msgspec.json.encode(outcome.warnings).decode(),
                    place,
                ),
            )
            if done:
                self._note_published(db, place)
                paths = outcome.job.paths
                db.executemany(
                    "INSERT OR REPLACE INTO outlines VALUES (?, ?)",
                    (
                        (self._below(os.fsencode(paths[stem.stem])), stem.waveform_overview)
                        for stem in outcome.stems
                    ),
                )

    def pool_starts(self, max_ram_bytes: int) -> None:
        """Note how much memory all processes of the run may take together."""
        with self._transaction() as db:
            db.execute("UPDATE runs SET max_ram_bytes = ? WHERE id = ?", (max_ram_bytes, self._run))

    def end_run(self, summary: Summary, memory: TimeSeries | None = None) -> None:
        """Note how the run ended, and what memory all of its processes took over the time."""
        with self._transaction() as db:
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
                    _written(memory),
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
                None if attempt.log_file is None else printable(os.path.basename(attempt.log_file)),
                attempt.ram_cap_bytes,
                _written(attempt.memory),
                attempt.node,
                place,
            ),
        )


def _written(curve: TimeSeries | None) -> str | None:
    return None if curve is None else msgspec.json.encode(curve).decode()

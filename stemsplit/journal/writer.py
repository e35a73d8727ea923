"""Runs in the supervisor. The journal of an output folder for its single writer.

Records what was requested, attempted and done. Each method is one transaction. Paths of stems are
relative to the output folder, so that it can be moved; paths of sources are absolute.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from stemsplit.core.errors import OutputExistsError
from stemsplit.core.outcome import Reason
from stemsplit.core.text import quoted
from stemsplit.journal.fingerprints import fingerprint_of, is_same_stem
from stemsplit.journal.job_records import JobState, UnfinishedJob
from stemsplit.journal.reader import JournalReader
from stemsplit.journal.stem_records import decode_stems
from stemsplit.journal.tables import attempts, jobs, runs, stems
from stemsplit.storage.publish import STAGING_PREFIX
from stemsplit.storage.safe_paths import leads_out, require_inside
from stemsplit.storage.urls import is_remote
from stemsplit.storage.write_errors import write_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stemsplit.core.job import Job
    from stemsplit.core.limits import Resources
    from stemsplit.core.outcome import Attempt, Outcome, TrackWarning
    from stemsplit.core.probe import Probe
    from stemsplit.core.settings import Settings
    from stemsplit.core.time_series import TimeSeries
    from stemsplit.journal.job_records import JobEntry
    from stemsplit.journal.run_records import RunSummary
    from stemsplit.journal.stem_records import Stem


class _UnfinishedRow(NamedTuple):
    key: bytes
    state: JobState
    pending: bytes | None
    staging_folder: bytes


class _OwnerRow(NamedTuple):
    key: bytes
    size_bytes: int
    modified_ns: int


class Journal(JournalReader):
    """The journal of one output folder, for its single writer, who holds the folder's lock.

    Args:
        path: the database; created if missing, in an existing folder.
        output: the folder for all stems.

    Raises:
        StemsplitError: if the journal cannot be opened, is damaged, or was written by a newer
            stemsplit. Every method raises `StemsplitError` if the journal cannot be written:
            `DiskFullError` or `UnwritableError` in most cases.
    """

    def __init__(self, path: Path, output: Path) -> None:
        super().__init__(path, output, writable=True)
        self._run = 0
        self._run_began = 0.0

    @property
    def run_seconds(self) -> float:
        """Wall time since the run began."""
        return max(time.time() - self._run_began, 0.0)

    def _below_output(self, path: bytes) -> bytes:
        return os.path.relpath(path, self._output)

    def begin_run(
        self,
        settings: Settings,
        entries: Sequence[JobEntry],
        *,
        version: str,
        unrecorded: int = 0,
        refused: Sequence[tuple[str, str, str]] = (),
        overwrite: bool = False,
    ) -> None:
        """Begin a run with its jobs; what earlier runs recorded about them stays.

        Args:
            settings: settings of the run.
            entries: jobs of the run.
            version: version of stemsplit.
            unrecorded: number of skipped tracks whose stems are in no journal.
            refused: source, reason and message of each input that is not a job.
            overwrite: whether everything is done again.
        """
        self._run_began = time.time()
        keyed = [(self.job_key(entry.job), entry) for entry in entries]
        with self._transaction() as db:
            self._run = runs.insert_run(
                db,
                settings,
                began=self._run_began,
                version=version,
                unrecorded=unrecorded,
                refused=refused,
                overwrite=overwrite,
            )
            jobs.insert_jobs(db, self._run, keyed, version)
            for key, entry in keyed:
                if entry.replaceable is not None:
                    stems.allow_replacing(db, key, entry.replaceable)

    def record_memory_budget(self, max_ram_bytes: int) -> None:
        """Record the memory budget of all processes of the run together."""
        with self._transaction() as db:
            db.execute("UPDATE runs SET max_ram_bytes = ? WHERE id = ?", (max_ram_bytes, self._run))

    def end_run(self, summary: RunSummary, memory: TimeSeries | None = None) -> None:
        """Record the result of the run, and the memory of all of its processes over time."""
        with self._transaction() as db:
            runs.end_run(db, self._run, summary, memory)

    def record_probes(self, probes: Mapping[bytes, Probe]) -> None:
        """Record probes of sources, by the sources' paths."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO probes VALUES (?, ?)",
                ((source, msgspec.msgpack.encode(probe)) for source, probe in probes.items()),
            )

    def begin_attempt(
        self,
        job: Job,
        settings: Settings,
        resources: Resources,
        *,
        number: int,
        staging_folder: Path,
        preloaded: bool,
    ) -> None:
        """Record an attempt, before its staging folder is created and its child started."""
        key = self.job_key(job)
        with self._transaction() as db:
            jobs.set_state(db, key, JobState.RUNNING)
            attempts.insert_attempt(
                db,
                key,
                settings,
                resources,
                run=self._run,
                number=number,
                staging_folder=self._below_output(os.fsencode(staging_folder)),
                preloaded=preloaded,
            )

    def end_attempt(self, job: Job, attempt: Attempt) -> None:
        """Record the outcome of an attempt that another one is to follow."""
        key = self.job_key(job)
        with self._transaction() as db:
            attempts.end_attempt(db, key, attempt, 0.0)
            jobs.set_state(db, key, JobState.WAITING)

    def begin_publishing(
        self,
        job: Job,
        pending: Sequence[Stem],
        *,
        overwrite: bool,
        warnings: Sequence[TrackWarning] = (),
    ) -> None:
        """Record the stems of a track that are checked, on disk, and about to be published.

        Args:
            job: the track.
            pending: its stems.
            overwrite: whether they may replace any file.
            warnings: warnings about the track, in case the run is killed before its outcome.

        Raises:
            OutputExistsError: if `overwrite` is false and a file exists that does not belong to
                this job or was changed since.
            UnwritableError, DiskFullError: if the destinations cannot be checked or the journal
                cannot be written.
        """
        key = self.job_key(job)
        try:
            obstacle = None if overwrite else self._find_obstacle(key, pending)
        except OSError as error:
            raise write_error(job.destination_path, error) from error
        if obstacle is not None:
            raise OutputExistsError(
                f"{quoted(os.path.join(self._output, obstacle))} was created or changed while the "
                "track was separated.",
                "Use --overwrite to replace it, or choose another folder with -o.",
            )
        with self._transaction() as db:
            jobs.set_publishing(db, key, pending, warnings)

    def cancel_publishing(self, job: Job) -> None:
        """Record that no stem was published after all."""
        with self._transaction() as db:
            jobs.cancel_publishing(db, self.job_key(job))

    def record_outcome(self, outcome: Outcome) -> None:
        """Record the outcome of a track.

        A track that failed after some of its stems were published stays `publishing`, with its
        attempt open, for `stemsplit.journal.recovery`.
        """
        key = self.job_key(outcome.job)
        is_done = outcome.reason is Reason.DONE
        with self._transaction() as db:
            _, _, state = jobs.select_job(db, key)
            if not is_done and state == JobState.PUBLISHING:
                jobs.set_failure(db, key, outcome)
                return
            if outcome.attempts:
                attempts.end_attempt(db, key, outcome.attempts[-1], outcome.audio_seconds)
            jobs.set_outcome(db, key, outcome)
            if is_done:
                stems.record_published(db, key)
                paths = outcome.job.paths
                stems.insert_waveforms(
                    db,
                    (
                        (self._below_output(os.fsencode(paths[stem.stem])), stem.waveform_overview)
                        for stem in outcome.stems
                    ),
                )

    def can_publish(self, key: bytes, pending: Sequence[Stem]) -> bool:
        """Return whether stems of a killed run may still be published.

        They may not replace files that do not belong to their job.
        """
        try:
            return self._find_obstacle(key, pending, some_published=True) is None
        except OSError:
            return False

    def _find_obstacle(
        self, key: bytes, pending: Sequence[Stem], *, some_published: bool = False
    ) -> bytes | None:
        """Return the path of a file at a destination that does not belong to the job, if any.

        With `some_published`, stems that are already at their destinations are no obstacle.
        """
        for stem in pending:
            fingerprint = fingerprint_of(os.path.join(self._output, stem.path))
            if fingerprint is None:
                continue
            if some_published and is_same_stem(fingerprint, stem.fingerprint):
                continue
            rows = self._read(
                _OwnerRow,
                """
                SELECT place, size_bytes, modified_ns FROM stems JOIN jobs ON jobs.id = stems.job
                WHERE path = ?
                """,
                stem.path,
            )
            is_own = any(
                row.key == key and is_same_stem((row.size_bytes, row.modified_ns), fingerprint)
                for row in rows
            )
            if not is_own:
                return stem.path
        return None

    def unfinished_jobs(self, job: Job | None = None) -> list[UnfinishedJob]:
        """Return the jobs that a killed run left unfinished, or `job` if a lost node left it so."""
        condition, values = ("", ()) if job is None else ("AND place = ?", (self.job_key(job),))
        rows = self._read(
            _UnfinishedRow,
            f"""
            SELECT place, state, coming, work_folder
            FROM jobs JOIN attempts ON attempts.job = jobs.id
            WHERE attempts.reason IS NULL {condition} ORDER BY attempts.id
            """,  # noqa: S608 - one of the two texts above
            *values,
        )
        unfinished: dict[bytes, UnfinishedJob] = {}
        for key, state, packed, staging_folder in rows:
            with self._translate_errors():
                require_inside(key)
                pending = decode_stems(packed)
                below = require_inside(staging_folder)
            folder = Path(os.fsdecode(os.path.join(self._output, below)))
            earlier = unfinished[key].staging_folders if key in unfinished else ()
            unfinished[key] = UnfinishedJob(
                key=key, state=state, pending=pending, staging_folders=(*earlier, folder)
            )
        return [self._without_links(found) for found in unfinished.values()]

    def _without_links(self, unfinished: UnfinishedJob) -> UnfinishedJob:
        """Return the job without its files if links lead any of them out of the output folder.

        Somebody else may have created the links. Nothing is moved or removed there; the track is
        separated again.
        """
        if is_remote(self._output):
            return unfinished
        staging = (self._below_output(os.fsencode(path)) for path in unfinished.staging_folders)
        paths = (*staging, *(stem.path for stem in unfinished.pending))
        if any(leads_out(self._output, path) for path in paths):
            return replace(unfinished, state=JobState.RUNNING, pending=(), staging_folders=())
        return unfinished

    def ended_staging_folders(self) -> frozenset[str]:
        """Return the names of the staging folders of ended attempts, which can be removed."""
        query = "SELECT work_folder FROM attempts WHERE reason IS NOT NULL"
        folders = self._read_column(bytes, query)
        names = (os.fsdecode(os.path.basename(folder)) for folder in folders)
        return frozenset(name for name in names if name.startswith(STAGING_PREFIX))

    def record_recovery(self, states: Mapping[bytes, JobState]) -> None:
        """Record the new states of unfinished jobs, by their keys, and end their attempts."""
        with self._transaction() as db:
            for key, state in states.items():
                is_done = state is JobState.DONE
                jobs.set_recovered(db, key, state)
                if is_done:
                    stems.record_published(db, key)
                else:
                    stems.record_partly_published(db, key, self._output)
                attempts.close_attempts(db, key, Reason.DONE if is_done else Reason.CANCELLED)

"""Runs in the supervisor. One track through its attempts: staging, log, publishing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import zlib
from typing import TYPE_CHECKING, Protocol

from stemsplit.core.errors import OutputExistsError, StemsplitError
from stemsplit.core.job import Job
from stemsplit.core.limits import Resources
from stemsplit.core.messages import Task
from stemsplit.core.outcome import Reason
from stemsplit.core.settings import Settings
from stemsplit.core.text import quoted
from stemsplit.journal.layout import OutputLayout
from stemsplit.journal.records import coming_stems
from stemsplit.storage.publish import (
    discard,
    is_there,
    left_behind,
    make_staging_folder,
    name_staging_folder,
    publish,
    refused,
    require_one_disk,
    take_back,
)
from stemsplit.storage.remote import is_remote
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
from stemsplit.supervisor.pool_interface import FinalisedAttempt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stemsplit.core.messages import Finished
    from stemsplit.journal.records import Stem
    from stemsplit.supervisor.pool_interface import TrackTask

_TELLING = frozenset(Reason) - {
    Reason.DONE,
    Reason.BAD_INPUT,
    Reason.DAMAGED,
    Reason.OUTPUT_EXISTS,
    Reason.DISK_FULL,
    Reason.UNWRITABLE,
    Reason.CANCELLED,
    Reason.EVICTED,
}
"""Reasons after which the log of an attempt is kept."""


class AttemptRecorder(Protocol):
    """Is told of each step that a crash must not make forgotten, before it is taken."""

    def attempt_begins(
        self, job: Job, settings: Settings, resources: Resources, number: int, staging_folder: Path
    ) -> None:
        """A work folder will be made and a child started; raises `StemsplitError` to forbid it."""

    def publishing(self, job: Job, coming: Sequence[Stem], result: Finished) -> bool:
        """The files of a work folder will be shown; raises `StemsplitError` to forbid it.

        Args:
            job: the track.
            coming: the files, and where they will be.
            result: what the child said of them.

        Returns:
            whether that will be completed if this process dies or fails in the midst of it.
        """

    def taken_back(self, job: Job) -> None:
        """They could not be shown, and none of them is."""


class UnrecordedAttempts:
    """Keeps no account; forbids to replace anything unless it is told otherwise."""

    def __init__(self, *, overwrite: bool) -> None:
        """Allow or forbid that."""
        self._overwrite = overwrite

    def attempt_begins(
        self, job: Job, settings: Settings, resources: Resources, number: int, staging_folder: Path
    ) -> None:
        """Do nothing."""

    def publishing(self, job: Job, coming: Sequence[Stem], result: Finished) -> bool:
        """Look whether anything is in the way."""
        del coming, result
        for path in job.paths.values():
            if is_there(path) and not self._overwrite:
                raise OutputExistsError(
                    f"{quoted(path)} was made by somebody while the track was separated.",
                    "Move it away, or allow to overwrite it.",
                )
        return False

    def taken_back(self, job: Job) -> None:
        """Do nothing."""


class _HalfShownError(StemsplitError):
    """Some stems are shown and others are not; they are kept for the next run to show."""

    def __init__(self, cause: StemsplitError) -> None:
        super().__init__(cause.message, cause.remedy)
        self.cause = cause


class LocalTrackTask:
    """One track's files through its attempts; see `stemsplit.supervisor.pool.TrackTask`."""

    def __init__(
        self,
        job: Job,
        settings: Settings,
        *,
        nice: int,
        model_folder: Path | None,
        scratch: Path,
        output: Path,
        recorder: AttemptRecorder,
        audio_seconds: float,
    ) -> None:
        """Keep the places; nothing is made yet.

        Args:
            job: what is wanted.
            settings: how.
            nice: how much its children give way to other programs.
            model_folder: the verified weights; None where nothing is separated.
            scratch: takes logs while they are written; removed with the pool.
            output: the folder for all stems; keeps the logs of failures.
            recorder: is told of each step.
            audio_seconds: how much audio is separated, where memory depends on it.
        """
        self._job = job
        self._audio_seconds = audio_seconds
        self._settings = settings
        self._nice = nice
        self._model_folder = model_folder
        self._scratch = scratch
        self._output = output
        self._recorder = recorder
        self._staging_folder: Path | None = None

    @property
    def job(self) -> Job:
        """What is wanted."""
        return self._job

    @property
    def audio_seconds(self) -> float:
        """See `stemsplit.supervisor.pool_interface.TrackTask`."""
        return self._audio_seconds

    def written_bytes(self) -> int:
        """Count what its present child has written so far."""
        if self._staging_folder is None:
            return 0
        try:
            return sum(file.stat().st_size for file in self._staging_folder.iterdir())
        except OSError:
            return 0

    def begin(self, number: int, resources: Resources) -> Task:
        """Make an empty work folder; raises `UnwritableError`, `DiskFullError`."""
        shown_from = name_staging_folder(self._job.destination_path, self._output)
        elsewhere = is_remote(shown_from)
        staging = self._scratch / shown_from.name if elsewhere else shown_from
        self._recorder.attempt_begins(self._job, self._settings, resources, number, shown_from)
        with contextlib.suppress(OSError):  # a full or missing temporary folder is no reason
            # For the warden, who removes it if this process cannot.
            self._note(staging).write_bytes(os.fsencode(staging))
        make_staging_folder(staging)
        self._staging_folder = staging
        try:
            if not elsewhere:
                require_one_disk(staging, self._job.paths.values())
        except (StemsplitError, OSError):
            discard(staging)
            raise
        return Task(
            job=self._job,
            settings=self._settings,
            resources=resources,
            nice=self._nice,
            model_folder=b"" if self._model_folder is None else os.fsencode(self._model_folder),
            staging_folder=os.fsencode(staging),
            staging=os.fsencode(shown_from) if elsewhere else b"",
            log_file=os.fsencode(self._scratch / f"{staging.name}.{number}.log"),
        )

    def conclude(
        self, task: Task, diagnosis: ExitDiagnosis, result: Finished | None
    ) -> FinalisedAttempt:
        """Publish a result; remove whatever else the attempt has left."""
        keep = False
        if result is not None:
            try:
                self._publish(task, result)
            except _HalfShownError as error:
                keep, diagnosis = True, ExitDiagnosis.of(error.cause)
            except StemsplitError as error:
                diagnosis = ExitDiagnosis.of(error)
        if not keep:
            for folder in {task.staging_path, task.shown_from}:
                discard(folder)
        with contextlib.suppress(OSError):
            self._note(task.staging_path).unlink(missing_ok=True)
        self._staging_folder = None
        return FinalisedAttempt(diagnosis=diagnosis, log_file=self._keep_log(task, diagnosis))

    def _publish(self, task: Task, result: Finished) -> None:
        """Show the stems, all of them; if that fails, none of them.

        Raises:
            StemsplitError: if none is shown.
            _HalfShownError: if some had to replace older ones before others failed.
        """
        staging, paths = task.shown_from, self._job.paths
        moves = {stem.file_name: paths[stem.stem] for stem in result.stems}
        replaced = {name for name, path in moves.items() if is_there(path)}
        try:
            coming = coming_stems(task.staging_path, moves, self._output)
        except OSError as error:
            raise refused(staging, error) from error
        will_be_completed = self._recorder.publishing(self._job, coming, result)
        if will_be_completed:
            # From here on the next run completes it, and the warden must not.
            with contextlib.suppress(OSError):
                self._note(task.staging_path).unlink(missing_ok=True)
        try:
            publish(staging, moves)
        except StemsplitError as error:
            left = left_behind(staging, moves)
            if left is None and will_be_completed:
                raise _HalfShownError(error) from error
            if not left:
                return  # it failed when all was done
            if not take_back(staging, moves, replaced) and will_be_completed:
                raise _HalfShownError(error) from error
            self._recorder.taken_back(self._job)
            raise

    def _note(self, staging: Path) -> Path:
        return self._scratch / f"{staging.name}.unfinished"

    def _keep_log(self, task: Task, diagnosis: ExitDiagnosis) -> Path | None:
        log = task.log_path
        if diagnosis.reason not in _TELLING or not log.exists():
            log.unlink(missing_ok=True)
            return None
        number = log.name.split(".")[-2]
        readable = re.sub(r"[^\w -]", "_", self._job.source_path.stem)[:60]
        name = f"{readable}-{zlib.crc32(self._job.source):08x}.{number}.log"
        state = OutputLayout(self._output)
        kept = state.logs / name
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.unlink(missing_ok=True)  # a link would be written through
            shutil.move(log, kept)
            state.share(kept.parent, kept)
        except OSError:
            return None  # what it says goes with the outcome all the same
        return kept


def written_by(track_task: TrackTask) -> int:
    """Count what the present child of a track has written so far, where that is known."""
    return track_task.written_bytes() if isinstance(track_task, LocalTrackTask) else 0

"""Runs in the supervisor. Manages the files of one track: staging folder, publishing, log."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import zlib
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Protocol

from stemsplit.core.errors import OutputExistsError, StemsplitError
from stemsplit.core.job import Job
from stemsplit.core.limits import Resources
from stemsplit.core.messages import Task
from stemsplit.core.outcome import Reason
from stemsplit.core.settings import Settings
from stemsplit.core.text import quoted
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.journal.stem_records import pending_stems
from stemsplit.storage.publish import (
    discard,
    has_unpublished,
    make_staging_folder,
    may_exist,
    name_staging_folder,
    publish,
    require_same_disk,
    take_back,
)
from stemsplit.storage.urls import is_remote
from stemsplit.storage.write_errors import write_error
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
from stemsplit.supervisor.pool_interface import FinalisedAttempt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stemsplit.core.messages import Finished
    from stemsplit.journal.stem_records import Stem

_KEEP_LOG_AFTER = frozenset(Reason) - {
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
    """Records each step of a track before it happens, so that a crash cannot lose it."""

    def begin_attempt(
        self, job: Job, settings: Settings, resources: Resources, number: int, staging_folder: Path
    ) -> None:
        """Record that a staging folder will be created and a child started.

        Raises:
            StemsplitError: to forbid it.
        """

    def begin_publishing(self, job: Job, pending: Sequence[Stem], result: Finished) -> bool:
        """Record that the files of a staging folder will be published.

        Args:
            job: the track.
            pending: the files and their destinations.
            result: the child's last message.

        Returns:
            whether a later run completes the publication if this process dies or fails.

        Raises:
            StemsplitError: to forbid it.
        """

    def cancel_publishing(self, job: Job) -> None:
        """Record that publishing failed and that no file is published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnrecordedAttempts:
    """An `AttemptRecorder` that keeps no records.

    Attributes:
        overwrite: whether existing files may be replaced.
    """

    overwrite: bool

    def begin_attempt(
        self, job: Job, settings: Settings, resources: Resources, number: int, staging_folder: Path
    ) -> None:
        """Do nothing."""

    def begin_publishing(self, job: Job, pending: Sequence[Stem], result: Finished) -> bool:
        """Raise `OutputExistsError` if a file would be replaced against the policy."""
        del pending, result
        for path in job.paths.values():
            if not self.overwrite and may_exist(path):
                raise OutputExistsError(
                    f"{quoted(path)} was created while the track was being separated.",
                    "Move it elsewhere, or allow overwriting.",
                )
        return False

    def cancel_publishing(self, job: Job) -> None:
        """Do nothing."""


class _PartlyPublishedError(StemsplitError):
    """Some stems are published; the others are kept for the next run to publish."""

    def __init__(self, cause: StemsplitError) -> None:
        super().__init__(cause.message, cause.remedy)
        self.cause = cause


@dataclass(slots=True, eq=False)
class LocalTrackTask:
    """A track on this machine; see `stemsplit.supervisor.pool_interface.TrackTask`.

    Attributes:
        job: the track.
        settings: how to separate it.
        nice: nice value of its children.
        model_folder: the verified weights; None for a conversion.
        scratch: folder for logs of running attempts, removed with the pool.
        output: folder for all stems; keeps the logs of failures.
        recorder: called before each step.
        audio_seconds: length of the audio where memory grows with it, else 0.
    """

    job: Job
    settings: Settings
    _: KW_ONLY
    nice: int
    model_folder: Path | None
    scratch: Path
    output: Path
    recorder: AttemptRecorder
    audio_seconds: float
    _staging_folder: Path | None = field(default=None, init=False)

    def written_bytes(self) -> int:
        """Return the number of bytes that the running child has written so far."""
        if self._staging_folder is None:
            return 0
        try:
            return sum(file.stat().st_size for file in self._staging_folder.iterdir())
        except OSError:
            return 0

    def begin_attempt(self, number: int, resources: Resources) -> Task:
        """Create an empty staging folder and return the task of the child.

        Raises:
            UnwritableError: if the folder cannot be created.
            DiskFullError: if the disk is full.
        """
        publish_from = name_staging_folder(self.job.destination_path, self.output)
        is_upload = is_remote(publish_from)
        staging = self.scratch / publish_from.name if is_upload else publish_from
        self.recorder.begin_attempt(self.job, self.settings, resources, number, publish_from)
        with contextlib.suppress(OSError):  # a full or missing scratch folder is no reason to fail
            # The watchdog removes the staging folder if this process dies.
            self._unfinished_file(staging).write_bytes(os.fsencode(staging))
        make_staging_folder(staging)
        self._staging_folder = staging
        try:
            if not is_upload:
                require_same_disk(staging, self.job.paths.values())
        except (StemsplitError, OSError):
            discard(staging)
            raise
        return Task(
            job=self.job,
            settings=self.settings,
            resources=resources,
            nice=self.nice,
            model_folder=b"" if self.model_folder is None else os.fsencode(self.model_folder),
            staging_folder=os.fsencode(staging),
            remote_staging=os.fsencode(publish_from) if is_upload else b"",
            log_file=os.fsencode(self.scratch / f"{staging.name}.{number}.log"),
        )

    def finalise(
        self, task: Task, diagnosis: ExitDiagnosis, result: Finished | None
    ) -> FinalisedAttempt:
        """Publish a result, and remove all other files of the attempt."""
        keep_staging = False
        if result is not None:
            try:
                self._publish(task, result)
            except _PartlyPublishedError as error:
                keep_staging, diagnosis = True, ExitDiagnosis.of(error.cause)
            except StemsplitError as error:
                diagnosis = ExitDiagnosis.of(error)
        if not keep_staging:
            for folder in {task.staging_path, task.publish_from}:
                discard(folder)
        self._forget_unfinished(task)
        self._staging_folder = None
        return FinalisedAttempt(diagnosis=diagnosis, log_file=self._keep_log(task, diagnosis))

    def _publish(self, task: Task, result: Finished) -> None:
        """Publish all stems; if that fails, publish none of them.

        Raises:
            StemsplitError: if none is published.
            _PartlyPublishedError: if some are, because they replaced older files before others
                failed.
        """
        staging, paths = task.publish_from, self.job.paths
        moves = {stem.file_name: paths[stem.stem] for stem in result.stems}
        replaced = {name for name, path in moves.items() if may_exist(path)}
        try:
            pending = pending_stems(task.staging_path, moves, self.output)
        except OSError as error:
            raise write_error(staging, error) from error
        will_be_completed = self.recorder.begin_publishing(self.job, pending, result)
        if will_be_completed:
            # The next run completes it, so the watchdog must not remove the folder.
            self._forget_unfinished(task)
        try:
            publish(staging, moves)
        except StemsplitError as error:
            is_unfinished = has_unpublished(staging, moves)
            if is_unfinished is False:
                return  # it failed after the last move
            is_reverted = is_unfinished is True and take_back(staging, moves, replaced)
            if will_be_completed and not is_reverted:
                raise _PartlyPublishedError(error) from error
            self.recorder.cancel_publishing(self.job)
            raise

    def _unfinished_file(self, staging: Path) -> Path:
        return self.scratch / f"{staging.name}.unfinished"

    def _forget_unfinished(self, task: Task) -> None:
        with contextlib.suppress(OSError):
            self._unfinished_file(task.staging_path).unlink(missing_ok=True)

    def _keep_log(self, task: Task, diagnosis: ExitDiagnosis) -> Path | None:
        """Move the log to the output folder and return its path; None if it is not kept."""
        log = task.log_path
        if diagnosis.reason not in _KEEP_LOG_AFTER or not log.exists():
            log.unlink(missing_ok=True)
            return None
        number = log.name.split(".")[-2]
        readable = re.sub(r"[^\w -]", "_", self.job.source_path.stem)[:60]
        name = f"{readable}-{zlib.crc32(self.job.source):08x}.{number}.log"
        layout = OutputLayout(self.output)
        kept = layout.logs / name
        try:
            # A local output folder that was moved away is not created again.
            layout.folder.mkdir(parents=is_remote(self.output), exist_ok=True)
            kept.parent.mkdir(exist_ok=True)
            kept.unlink(missing_ok=True)  # never write through a link
            shutil.move(log, kept)
            layout.share_access(kept.parent, kept)
        except OSError:
            return None  # its last lines are part of the outcome
        return kept

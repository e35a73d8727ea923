"""Runs in the child. Opens a job's source, after downloading it if it is remote."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import msgspec

from stemsplit.audio.decode import Decoder
from stemsplit.core.errors import BadInputError
from stemsplit.core.text import quoted
from stemsplit.storage import remote_files
from stemsplit.storage.urls import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.child.progress_reporter import ProgressReporter
    from stemsplit.core.messages import Task


@contextlib.contextmanager
def local_source(task: Task, reporter: ProgressReporter) -> Iterator[Task]:
    """Download a remote source for the duration of a `with` block.

    Yields:
        the task with the path of the local copy, or `task` itself if its source is local.

    Raises:
        BadInputError: if a remote source no longer exists.
        UnreachableError: if it cannot be downloaded.
    """
    source = task.job.source_path
    if not is_remote(source):
        yield task
        return
    folder = task.staging_path / "source"
    folder.mkdir()
    copy = folder / source.name
    try:
        try:
            remote_files.fetch(source, copy, reporter.report_transfer_if_due)
        except FileNotFoundError as error:
            raise BadInputError(f"{quoted(source)} no longer exists.", "Check the URL.") from error
        job = msgspec.structs.replace(task.job, source=os.fsencode(copy))
        yield msgspec.structs.replace(task, job=job)
    finally:
        # Publishing may rename the whole staging folder, so remove the copy before that.
        shutil.rmtree(folder, ignore_errors=True)


def open_source(task: Task) -> Decoder:
    """Open the extent of the source that the settings select.

    Raises:
        BadInputError: if it is not a usable audio file.
    """
    return Decoder(
        task.job.source_path,
        start_seconds=task.settings.start_seconds,
        duration_seconds=task.settings.duration_seconds,
        audio_track=task.settings.audio_track,
    )

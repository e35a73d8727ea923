"""Runs in the supervisor. Reads the status of the last run into a folder, for `stemsplit status`.

Reads what a run has written, during the run and after its end. Writes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stemsplit.batch.events import Failure
from stemsplit.core.outcome import WarningKind
from stemsplit.core.progress import Status
from stemsplit.core.text import printable
from stemsplit.journal.job_records import JobState
from stemsplit.journal.lock import is_locked, no_run_error, read_holder
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.journal.reader import JournalReader
from stemsplit.journal.status_file import read_status
from stemsplit.storage.urls import path_of

if TYPE_CHECKING:
    import os


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Status of the last run into an output folder.

    Attributes:
        output: the folder.
        running: whether a run holds the folder at the moment.
        preparing: whether that run is still scanning its inputs, in which case the fields below are
            those of the run before.
        holder: process and machine of the running run; empty if none runs.
        began: start of the last run, in seconds since 1970.
        ended: end of the run; null while it runs, or if it was killed.
        exit_code: exit code of the run; null in the same cases.
        done, failed, left: number of tracks; those done before the run count as done.
        damaged, clipped, notes: number of done tracks with a warning of that kind.
        left_earlier: number of tracks that earlier runs left unfinished and that are not part of
            this run.
        overwriting: whether the run separates finished tracks again, as a repetition would.
        audio_seconds_done, audio_seconds_left: audio in these tracks.
        failures: one entry for each failed track.
        now: live status of the run; null if none runs or none was written yet.
    """

    output: str
    running: bool
    preparing: bool
    holder: str
    began: float
    ended: float | None
    exit_code: int | None
    done: int
    failed: int
    left: int
    damaged: int = 0
    clipped: int = 0
    notes: int = 0
    left_earlier: int
    overwriting: bool
    audio_seconds_done: float
    audio_seconds_left: float
    failures: tuple[Failure, ...]
    now: Status | None


def status(output: str | os.PathLike[str]) -> Report:
    """Return the status of the last run into `output`.

    Raises:
        UsageError: if there was no run.
        StemsplitError: if the journal cannot be read.
    """
    layout = OutputLayout(path_of(output).absolute())
    running = is_locked(layout)
    opened = JournalReader.open_existing(layout.journal, layout.output)
    if opened is None:
        raise no_run_error(layout)
    with opened as journal:
        run = journal.last_run()
        counts = journal.state_counts()
        warned = journal.warning_counts()
        failures = journal.failures()
        left_earlier = journal.earlier_unfinished_count()
    if run is None:
        raise no_run_error(layout)
    done, done_seconds = counts.pop(JobState.DONE, (0, 0.0))
    counts.pop(JobState.FAILED, None)
    holder = read_holder(layout) if running else None
    now = read_status(layout.status) if holder is not None else None
    return Report(
        output=printable(layout.output),
        running=running,
        preparing=holder is not None and run.began < holder.since,
        holder="" if holder is None else str(holder),
        began=run.began,
        ended=run.ended,
        exit_code=run.exit_code,
        done=done + run.unrecorded,
        failed=len(failures),
        left=sum(count for count, _ in counts.values()),
        damaged=warned[WarningKind.DAMAGED],
        clipped=warned[WarningKind.CLIPPED],
        notes=warned[WarningKind.NOTE],
        left_earlier=left_earlier,
        overwriting=bool(run.overwrite),
        audio_seconds_done=done_seconds,
        audio_seconds_left=sum(seconds for _, seconds in counts.values()),
        failures=tuple(
            Failure(source=source, reason=reason, message=message)
            for source, reason, message in failures
        ),
        now=now if now is not None and holder is not None and now.pid == holder.pid else None,
    )

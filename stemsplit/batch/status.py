"""Runs in the supervisor. How far a batch is, asked from elsewhere: `stemsplit status`.

Reads what a run has written, also while it runs, and after its end. Writes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stemsplit.batch.events import Failure
from stemsplit.core.outcome import WarningKind
from stemsplit.core.progress import Status
from stemsplit.core.text import printable
from stemsplit.journal import status_file
from stemsplit.journal.layout import OutputLayout
from stemsplit.journal.lock import holder_of, is_held, nothing_there
from stemsplit.journal.reader import JournalReader
from stemsplit.journal.records import JobState
from stemsplit.storage.remote import path_of

if TYPE_CHECKING:
    import os


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the last run into an output folder.

    Attributes:
        output: the folder.
        running: whether a run holds it at this moment.
        preparing: whether that run is still looking through its inputs, so that what follows is
            of the one before.
        holder: which process on which machine does; empty if none.
        began: when the last run began, in seconds since 1970.
        ended: when it ended; null while it runs, and if it was killed.
        exit_code: its; null likewise.
        done, failed, left: tracks; those that were done before are among the first.
        damaged, clipped, notes: how many of the done tracks have a warning of that kind.
        left_earlier: tracks that earlier runs have left, and the last one did not name.
        overwriting: whether everything was to be done again, so that the same command would do so.
        audio_seconds_done, audio_seconds_left: of these tracks.
        failures: one entry for each failed track.
        now: what it is doing; null if none runs or nothing was written yet.
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
    """Tell how far the last run into `output` is.

    Raises:
        UsageError: if there is none.
        StemsplitError: if its journal cannot be read.
    """
    state = OutputLayout(path_of(output).absolute())
    running = is_held(state)
    opened = JournalReader.read(state.journal, state.output)
    if opened is None:
        raise nothing_there(state)
    with opened as journal:
        run = journal.last_run()
        counts = journal.counts()
        warned = journal.warned()
        failures = journal.failures()
        left_earlier = journal.left_earlier()
    if run is None:
        raise nothing_there(state)
    done, done_seconds = counts.pop(JobState.DONE, (0, 0.0))
    counts.pop(JobState.FAILED, None)
    holder = holder_of(state) if running else None
    now = status_file.read(state.status) if holder is not None else None
    return Report(
        output=printable(state.output),
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

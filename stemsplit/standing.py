"""Runs in the supervisor. How far a batch is, asked from elsewhere: `stemsplit status`.

Reads what a run has written, also while it runs, and after its end. Writes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stemsplit.errors import UsageError
from stemsplit.events import Failure
from stemsplit.library import board
from stemsplit.library.board import Status
from stemsplit.library.journal import JobState, Journal
from stemsplit.library.lock import holder_of, is_held
from stemsplit.library.state import State
from stemsplit.text import printable, quoted

if TYPE_CHECKING:
    import os


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the last run into an output folder.

    Attributes:
        output: the folder.
        running: whether a run holds it at this moment.
        holder: which process on which machine does; empty if none.
        began: when the last run began, in seconds since 1970.
        ended: when it ended; null while it runs, and if it was killed.
        exit_code: its; null likewise.
        done, failed, left: tracks; those that were done before are among the first.
        audio_seconds_done, audio_seconds_left: of these tracks.
        failures: one entry for each failed track.
        now: what it is doing; null if none runs or nothing was written yet.
    """

    output: str
    running: bool
    holder: str
    began: float
    ended: float | None
    exit_code: int | None
    done: int
    failed: int
    left: int
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
    state = State(Path(output).absolute())
    if not state.journal.exists():
        raise UsageError(
            f"Nothing was separated into {quoted(state.output)} so far.",
            "Name the folder that was given to `stemsplit separate` with -o.",
        )
    running = is_held(state)
    with Journal(state.journal, state.output, writable=False) as journal:
        run = journal.last_run()
        counts = journal.counts()
        failures = journal.failures()
    if run is None:
        raise UsageError(
            f"A run into {quoted(state.output)} is just beginning."
            if running
            else f"Nothing was separated into {quoted(state.output)} so far.",
            "Ask again in a moment." if running else "",
        )
    done, done_seconds = counts.pop(JobState.DONE, (0, 0.0))
    failed, _ = counts.pop(JobState.FAILED, (0, 0.0))
    holder = holder_of(state) if running else None
    return Report(
        output=printable(state.output),
        running=running,
        holder="" if holder is None else str(holder),
        began=run.began,
        ended=run.ended,
        exit_code=run.exit_code,
        done=done,
        failed=failed,
        left=sum(count for count, _ in counts.values()),
        audio_seconds_done=done_seconds,
        audio_seconds_left=sum(seconds for _, seconds in counts.values()),
        failures=tuple(
            Failure(source=printable(source), reason=reason, message=message)
            for source, reason, message in failures
        ),
        now=board.read(state.status) if running else None,
    )

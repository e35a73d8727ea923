"""Runs in the supervisor. Runs a batch from its inputs to its result; prints nothing.

Records every step in the journal before it happens, so that a crash loses none.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from stemsplit.batch.journal_recording import begin_run
from stemsplit.batch.notes import recovery_note
from stemsplit.batch.planning import find_tracks, plan_batch
from stemsplit.batch.reporter import BatchReporter
from stemsplit.batch.run_tracks import BatchExecution
from stemsplit.core.errors import ExitCode, StemsplitError
from stemsplit.core.outcome import WarningKind
from stemsplit.journal.lock import hold_lock
from stemsplit.journal.reader import JournalReader
from stemsplit.journal.recovery import recover, remove_staging_folders
from stemsplit.journal.status_file import StatusFile
from stemsplit.journal.writer import Journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.batch.control import Control
    from stemsplit.batch.event_factory import Listener
    from stemsplit.batch.events import BatchDone
    from stemsplit.batch.request import BatchRequest
    from stemsplit.batch.result import BatchResult
    from stemsplit.models.download import Progress as DownloadProgress


def run_batch(
    request: BatchRequest,
    control: Control,
    emit: Listener,
    download_progress: Callable[[str], DownloadProgress] | None,
) -> BatchResult:
    """Run a batch; see `stemsplit.batch.api.separate`."""
    reporter = BatchReporter(request, control, emit)
    found = find_tracks(request)
    has_journal = _has_journal(request)
    if not found.tracks and not has_journal:
        reporter.start(0, found.problems, found)
        return reporter.finish(reporter.summary())
    # Without a journal, plan before anything is created: the plan may raise.
    batch_plan = None if has_journal else plan_batch(found, request, None)
    layout = request.layout
    with hold_lock(layout, reporter.note), Journal(layout.journal, request.output) as journal:
        StatusFile(layout).close()  # a killed run may have left it
        note = recovery_note(recover(journal, request.output, overwrite=request.overwrite))
        if note:
            reporter.note(note)
        if batch_plan is None or journal.last_run() is not None:
            batch_plan = plan_batch(found, request, journal)
        folders = {track.planned.job.destination_path.parent for track in batch_plan.tracks}
        remove_staging_folders(journal, request.output, folders)
        tracks, postponed = batch_plan.split_at(request.limit)
        reporter.start(len(batch_plan.tracks) - len(postponed), batch_plan.problems, found)
        reporter.report_decisions(batch_plan)
        reporter.report_postponed(postponed)
        execution = BatchExecution(request, tracks, control, reporter, journal)
        begin_run(journal, batch_plan, reporter.refused(), request)
        try:
            if tracks:
                execution.run(download_progress)
        except BaseException as error:
            with contextlib.suppress(StemsplitError):  # the error may come from the journal itself
                summary = reporter.summary(exit_code=_exit_code_of(error))
                _end_run(request, journal, summary, execution)
            raise
        return _finish(request, journal, reporter, execution)


def _has_journal(request: BatchRequest) -> bool:
    journal = JournalReader.open_existing(request.layout.journal, request.output)
    if journal is None:
        return False
    with journal:
        return True


def _end_run(
    request: BatchRequest,
    journal: Journal,
    summary: BatchDone,
    execution: BatchExecution,
) -> None:
    """Clean up after unfinished tracks, and end the run in the journal."""
    recover(journal, request.output)
    journal.end_run(summary, execution.memory)


def _exit_code_of(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    return getattr(error, "exit_code", ExitCode.ERROR)


def _finish(
    request: BatchRequest, journal: Journal, reporter: BatchReporter, execution: BatchExecution
) -> BatchResult:
    """Write the summary to the journal and to its file, emit it, and return the result."""
    damaged_tracks = 0
    with contextlib.suppress(StemsplitError):
        damaged_tracks = journal.warning_counts()[WarningKind.DAMAGED]
    summary = reporter.summary(damaged_tracks=damaged_tracks)
    # After a full disk stopped the batch, neither may be writable.
    with contextlib.suppress(StemsplitError):
        _end_run(request, journal, summary, execution)
    with contextlib.suppress(OSError):
        request.layout.write(
            request.layout.summary,
            msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n",
        )
    return reporter.finish(summary)

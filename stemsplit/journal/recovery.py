"""Runs in the supervisor. Finishes or removes the files that a killed run left unfinished.

The caller holds the lock of the output folder: recovery comes before anything else is done there,
and again at the end of a run.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.errors import StemsplitError
from stemsplit.journal.job_records import JobState
from stemsplit.storage.publish import STAGING_PREFIX, discard, may_exist, publish
from stemsplit.storage.safe_paths import leads_out
from stemsplit.storage.urls import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stemsplit.core.job import Job
    from stemsplit.journal.job_records import UnfinishedJob
    from stemsplit.journal.writer import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Numbers of recovered tracks.

    Attributes:
        published: tracks whose stems were all on disk and are now at their destinations.
        dropped: tracks that were being separated and are to be separated again.
        stuck: tracks with some stems published and others that cannot be; no stem is lost.
    """

    published: int
    dropped: int
    stuck: int = 0


def recover(
    journal: Journal, output: Path, *, overwrite: bool = False, job: Job | None = None
) -> Recovery:
    """Finish or drop unfinished jobs, and record their new states.

    Args:
        journal: the journal of the output folder.
        output: the folder for all stems.
        overwrite: whether everything is done again, so that nothing has to be kept for later.
        job: the only track to recover, which no process handles any more; None for all of them.

    Raises:
        UnwritableError, DiskFullError: if the journal cannot be written.
    """
    states = {
        unfinished.key: _recover_job(unfinished, journal, output, keep=not overwrite)
        for unfinished in journal.unfinished_jobs(job)
    }
    ended = {key: state for key, state in states.items() if state is not JobState.PUBLISHING}
    if ended:
        journal.record_recovery(ended)
    published = sum(state is JobState.DONE for state in ended.values())
    return Recovery(
        published=published, dropped=len(ended) - published, stuck=len(states) - len(ended)
    )


def remove_staging_folders(journal: Journal, output: Path, folders: Iterable[Path]) -> None:
    """Remove staging folders of ended attempts that could not be removed before.

    Call this after `recover`. Staging folders that are not in the journal, such as those of a pool
    without one, are left alone. Only `output` and `folders` are searched.
    """
    if is_remote(output):
        return
    ended = journal.ended_staging_folders()
    for folder in {output, *folders}:
        with contextlib.suppress(OSError, ValueError), os.scandir(folder) as entries:
            below = os.path.relpath(os.fsencode(folder), os.fsencode(output))
            if leads_out(os.fsencode(output), below):
                continue
            for entry in entries:
                if entry.name in ended and entry.is_dir(follow_symlinks=False):
                    discard(folder / entry.name)


def _recover_job(
    unfinished: UnfinishedJob, journal: Journal, output: Path, *, keep: bool
) -> JobState:
    """Publish or discard the files of one track, and return its new state."""
    state = JobState.WAITING
    if unfinished.state is JobState.PUBLISHING:
        state = _publish(unfinished, journal, output)
    if state is JobState.PUBLISHING and not keep:
        state = JobState.WAITING
    if state is not JobState.PUBLISHING:
        for staging in unfinished.staging_folders:
            # Nothing else is removed, even if the journal says so.
            if staging.name.startswith(STAGING_PREFIX):
                discard(staging)
    return state


def _publish(unfinished: UnfinishedJob, journal: Journal, output: Path) -> JobState:
    """Publish the pending stems of one track if possible, and return its new state."""
    pending, staging = unfinished.pending, unfinished.staging_folders[-1]
    if not pending:
        return JobState.WAITING
    if may_exist(staging) and journal.can_publish(unfinished.key, pending):
        moves = {stem.work_name: output / os.fsdecode(stem.path) for stem in pending}
        with contextlib.suppress(StemsplitError):
            publish(staging, moves)
    # A remote destination is compared by size alone: a stem that is still in the staging folder is
    # not published, whatever is at its destination.
    is_published = [
        stem.is_at(os.fsencode(output))
        and not (is_remote(staging) and may_exist(staging / stem.work_name))
        for stem in pending
    ]
    if all(is_published):
        return JobState.DONE
    # If some are published, the others must not be discarded with their folder.
    is_stuck = any(is_published) and may_exist(staging)
    return JobState.PUBLISHING if is_stuck else JobState.WAITING

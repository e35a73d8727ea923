"""Runs in the supervisor. After a run that died, or ended in trouble: finish or remove its work.

For whoever holds the output folder's lock: before anything else is done there, and at the end.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.errors import StemsplitError
from stemsplit.journal.records import JobState
from stemsplit.storage.publish import STAGING_PREFIX, discard, is_there, publish
from stemsplit.storage.remote import is_remote
from stemsplit.storage.untrusted import leads_out

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stemsplit.core.job import Job
    from stemsplit.journal.records import Stem, Unfinished
    from stemsplit.journal.writer import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What was found and done.

    Attributes:
        shown: tracks whose stems were all on disk, and are now in place.
        dropped: tracks that were being separated, and are to be separated again.
        stuck: tracks of which some stems are shown and others cannot be; nothing of them is lost.
    """

    shown: int
    dropped: int
    stuck: int = 0


def recover(
    journal: Journal, output: Path, *, overwrite: bool = False, job: Job | None = None
) -> Recovery:
    """Bring an output folder and its journal in order.

    Args:
        journal: of the output folder.
        output: the folder for all stems.
        overwrite: whether everything is done again, so that nothing needs to be kept for later.
        job: the one track to do that for, which nobody works on any more; None is all of them.

    Raises:
        UnwritableError, DiskFullError: if the journal cannot be written.
    """
    states = {
        one.place: _ended(one, journal, output, keep=not overwrite)
        for one in journal.unfinished(job)
    }
    ended = {place: state for place, state in states.items() if state is not JobState.PUBLISHING}
    if ended:
        journal.recovered(ended)
    shown = sum(state is JobState.DONE for state in ended.values())
    return Recovery(shown=shown, dropped=len(ended) - shown, stuck=len(states) - len(ended))


def sweep(journal: Journal, output: Path, folders: Iterable[Path]) -> None:
    """Remove work folders of attempts that have ended, as where a disk refused it before.

    For whoever holds the output folder's lock, and has brought it in order. Work folders of others,
    as of a pool without a journal, are left alone.

    Args:
        journal: of the output folder.
        output: the folder for all stems.
        folders: where work folders of this run will be; others are not looked into.
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


def _ended(one: Unfinished, journal: Journal, output: Path, *, keep: bool) -> JobState:
    """Bring the files of one track in order, and give the state that it is in then."""
    state = JobState.WAITING
    if one.state is JobState.PUBLISHING:
        state = _show(one, journal, output)
    if state is JobState.PUBLISHING and not keep:
        state = JobState.WAITING
    if state is not JobState.PUBLISHING:
        for staging in one.staging_folders:
            # Whatever the journal says, nothing else is removed.
            if staging.name.startswith(STAGING_PREFIX):
                discard(staging)
    return state


def _show(one: Unfinished, journal: Journal, output: Path) -> JobState:
    staging, folder = one.staging_folders[-1], os.fsencode(output)
    if not one.coming:
        return JobState.WAITING
    if is_there(staging) and journal.may_show(one.place, one.coming):
        moves = {stem.work_name: output / os.fsdecode(stem.path) for stem in one.coming}
        with contextlib.suppress(StemsplitError):
            publish(staging, moves)
    in_place = [stem.is_at(folder) and not _is_held(staging, stem) for stem in one.coming]
    if all(in_place):
        return JobState.DONE
    # Where some are shown, those that are not must not be thrown away with their folder.
    return JobState.PUBLISHING if any(in_place) and is_there(staging) else JobState.WAITING


def _is_held(staging: Path, stem: Stem) -> bool:
    """Tell whether a stem waits to be shown on remote storage, where one like it may be in place.

    What tells one from the other there is its size alone.
    """
    return is_remote(staging) and is_there(staging / stem.work_name)

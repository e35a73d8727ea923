"""Runs in the supervisor. After a run that died: finish what was being shown, remove the rest.

For whoever holds the output folder's lock, before anything else is done there.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.errors import StemsplitError
from stemsplit.library.journal import JobState
from stemsplit.library.publish import WORK_PREFIX, discard, publish

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.library.journal import Journal, Unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What was found and done.

    Attributes:
        shown: tracks whose stems were all on disk, and are now in place.
        dropped: tracks that were being separated, and are to be separated again.
    """

    shown: int
    dropped: int


def recover(journal: Journal, output: Path) -> Recovery:
    """Bring an output folder and its journal in order.

    Raises:
        UnwritableError, DiskFullError: if the journal cannot be written.
    """
    ended = {one.place: _ended(one, output) for one in journal.unfinished()}
    if ended:
        journal.recovered(ended)
    shown = sum(state is JobState.DONE for state in ended.values())
    return Recovery(shown=shown, dropped=len(ended) - shown)


def _ended(one: Unfinished, output: Path) -> JobState:
    """Bring the files of one track in order, and give the state that it is in then."""
    state = one.state
    if state is JobState.PUBLISHING:
        work = one.work_folders[-1]
        if work.is_dir():
            moves = {stem.work_name: output / os.fsdecode(stem.path) for stem in one.coming}
            with contextlib.suppress(StemsplitError):  # then it is separated again, and tells why
                publish(work, moves)
        in_place = all(stem.is_at(os.fsencode(output)) for stem in one.coming)
        state = JobState.DONE if in_place else JobState.WAITING
    for work in one.work_folders:
        if work.name.startswith(WORK_PREFIX):  # whatever the journal says, nothing else is removed
            discard(work)
    return state if state is JobState.DONE else JobState.WAITING

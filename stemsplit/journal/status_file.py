"""Runs in the supervisor. Publishes the status of the current run to other processes.

The status is a small file in the output folder, replaced every few seconds. It is not a record:
whatever must survive is in the journal.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.progress import Status
from stemsplit.core.text import printable
from stemsplit.storage.small_files import read_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stemsplit.journal.output_layout import OutputLayout

_MAX_BYTES = 2**22
"""Maximum size of the file, which names the tracks that are being separated."""

_INTERVAL_SECONDS = 1.0
"""Minimum time between two updates."""


class StatusFile:
    """The status file of a run.

    Args:
        layout: the layout of the output folder.
        clock: returns monotonic seconds.
    """

    def __init__(self, layout: OutputLayout, clock: Callable[[], float] = time.monotonic) -> None:
        self._layout = layout
        self._clock = clock
        self._next = clock()

    def update(self, status: Callable[[], Status], *, at_once: bool = False) -> Status | None:
        """Write the status if an update is due, or `at_once`; call `status` only then.

        Returns:
            the status; None if no update was due.
        """
        if self._clock() < self._next and not at_once:
            return None
        self._next = self._clock() + _INTERVAL_SECONDS
        current = status()
        with contextlib.suppress(OSError):  # a full disk ends the batch elsewhere, with a reason
            self._layout.write(self._layout.status, msgspec.json.encode(current))
        return current

    def close(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self._layout.status.unlink(missing_ok=True)


def read_status(path: Path) -> Status | None:
    """Return the status in a file, printable; None if there is none."""
    try:
        status = read_json(path, Status, _MAX_BYTES)
    except (OSError, msgspec.DecodeError):
        return None
    return msgspec.structs.replace(
        status,
        pausing=printable(status.pausing),
        running=tuple(
            msgspec.structs.replace(track, source=printable(track.source))
            for track in status.running
        ),
    )

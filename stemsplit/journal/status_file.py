"""Runs in the supervisor. What a run is doing at this moment, for whoever asks from elsewhere.

A small file in the output folder, replaced as a whole every few seconds. It is no record: what must
not be lost is in the journal.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.progress import Status
from stemsplit.core.text import printable
from stemsplit.storage.untrusted import read_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stemsplit.journal.layout import OutputLayout

_MOST_BYTES = 2**22
"""Of the file: it names the tracks that are being separated."""

_SECONDS = 1.0
"""So often it is replaced at the most."""


class StatusFile:
    """Shows a run's status to others.

    Args:
        state: of the output folder.
        clock: monotonic seconds.
    """

    def __init__(self, state: OutputLayout, clock: Callable[[], float] = time.monotonic) -> None:
        """Write nothing yet."""
        self._state = state
        self._clock = clock
        self._next = clock()

    def show(self, status: Callable[[], Status], *, at_once: bool = False) -> Status | None:
        """Replace what is shown if it is time to, or at once.

        Returns:
            what is shown now, which `status` was asked for; None if it was not time.
        """
        if self._clock() < self._next and not at_once:
            return None
        self._next = self._clock() + _SECONDS
        shown = status()
        with contextlib.suppress(OSError):  # a full disk ends the batch elsewhere, with a reason
            self._state.write(self._state.status, msgspec.json.encode(shown))
        return shown

    def close(self) -> None:
        """Show nothing any more."""
        with contextlib.suppress(OSError):
            self._state.status.unlink(missing_ok=True)


def read(path: Path) -> Status | None:
    """Read what is shown; None if nothing is."""
    try:
        status: Status = msgspec.json.decode(read_file(path, _MOST_BYTES), type=Status)
    except (OSError, msgspec.DecodeError, RecursionError):
        return None
    return msgspec.structs.replace(
        status,
        pausing=printable(status.pausing),
        running=tuple(
            msgspec.structs.replace(one, source=printable(one.source)) for one in status.running
        ),
    )

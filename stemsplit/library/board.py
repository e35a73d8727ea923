"""Runs in the supervisor. What a run is doing at this moment, for whoever asks from elsewhere.

A small file in the output folder, replaced as a whole every few seconds. It is no record: what must
not be lost is in the journal.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import msgspec

from stemsplit.progress import Status
from stemsplit.text import printable
from stemsplit.untrusted import read_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MOST_BYTES = 2**22
"""Of the file: it names the tracks that are being separated."""

_SECONDS = 1.0
"""So often it is replaced at the most."""


class Board:
    """Shows a run's status to others.

    Args:
        path: the file.
        clock: monotonic seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Write nothing yet."""
        self._path = path
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
        new = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk ends the batch elsewhere, with a reason
            new.write_bytes(msgspec.json.encode(shown))
            os.replace(new, self._path)
        return shown

    def close(self) -> None:
        """Show nothing any more."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


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

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

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_SECONDS = 1.0
"""So often it is replaced at the most."""


class RunningTrack(msgspec.Struct, frozen=True, kw_only=True):
    """A track that is being separated.

    Attributes:
        source: the audio file, printable.
        attempt: number of the child, from 1.
        seconds: since the child was started.
        audio_seconds: separated so far.
        total_seconds: of audio; None where it is not known.
        memory_bytes: of the child and all that it started, when last read; None if never.
    """

    source: str
    attempt: int
    seconds: float
    audio_seconds: float
    total_seconds: float | None
    memory_bytes: int | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is.

    Attributes:
        pid: of the supervisor.
        updated: when this was written, in seconds since 1970.
        seconds: since the run began.
        done, failed, left: tracks separated and failed in this run, and those still to be ended,
            what is running included.
        audio_seconds: separated in this run.
        audio_seconds_left: still to be separated, guessed where a file does not say.
        speed: seconds of audio a second, so far; None before there is any.
        seconds_left: until all is done, predicted; None where nothing is known.
        memory_bytes: of all processes together, when last read; None if never.
        max_ram_bytes: the budget.
        running: the tracks that are being separated.
        pausing: why nothing is started, empty where something may be.
    """

    pid: int
    updated: float
    seconds: float
    done: int
    failed: int
    left: int
    audio_seconds: float
    audio_seconds_left: float
    speed: float | None
    seconds_left: float | None
    memory_bytes: int | None
    max_ram_bytes: int
    running: tuple[RunningTrack, ...]
    pausing: str = ""


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

    def show(self, status: Callable[[], Status], *, at_once: bool = False) -> None:
        """Replace what is shown if it is time to, or at once; `status` is asked for only then."""
        if self._clock() < self._next and not at_once:
            return
        self._next = self._clock() + _SECONDS
        new = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk ends the batch elsewhere, with a reason
            new.write_bytes(msgspec.json.encode(status()))
            os.replace(new, self._path)

    def close(self) -> None:
        """Show nothing any more."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read(path: Path) -> Status | None:
    """Read what is shown; None if nothing is."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Status)
    except (OSError, msgspec.DecodeError):
        return None

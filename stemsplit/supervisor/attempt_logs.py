"""Runs in the supervisor. Writes and reads the log of an attempt.

The child itself appends what it and its C libraries print, and crash reports. Its log records
arrive on a pipe, and a handler of multiprocessing-logging appends them to the same file. Each child
has its own handler and pipe, because a child that is killed while it writes breaks what it shares
with others.

The library's queue is replaced for two reasons. It is pickled, and data from a broken child must
never run code in the supervisor (docs/decisions/0002-messages.md). And the supervisor's end of it
would keep the handler waiting for a dead child.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from queue import Empty
from typing import TYPE_CHECKING

import msgspec
from multiprocessing_logging import MultiProcessingHandler

from stemsplit.core.messages import decode_record
from stemsplit.supervisor.inbox import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.connection import Connection
    from pathlib import Path

TAIL_BYTES = 16_384
TAIL_LINES = 100

# Begins on a new line, because the child may be in the middle of one, as in a crash report.
_FORMAT = "\n%(asctime)s %(levelname)s %(name)s: %(message)s"


class AttemptLog(MultiProcessingHandler):  # type: ignore[misc] # it has no types
    """Receives the log records of one child, until `close` has read what remains in the pipe.

    The library's own constructor creates a `multiprocessing.Queue`. That fixes the start method of
    the whole program, so a program that sets one later would fail. It is therefore not called.

    Args:
        path: the log, to which the child appends too.
        pipe: pipe from the child; closed together with this.
    """

    def __init__(self, path: Path, pipe: Connection) -> None:
        """Start to receive, on a thread; raises `RuntimeError` if no thread can be started."""
        file = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace", delay=True)
        file.setFormatter(logging.Formatter(_FORMAT))
        logging.Handler.__init__(self)
        self.sub_handler = file
        self.setFormatter(file.formatter)
        self.queue = _PipeQueue(pipe)
        self._is_closed = False
        self._receive_thread = threading.Thread(
            target=self._receive, name=f"log of {path.name}", daemon=True
        )
        self._receive_thread.start()


class _PipeQueue:
    """A pipe with the interface of the queue that `MultiProcessingHandler` reads."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def get(self, timeout: float) -> logging.LogRecord:
        """Return the next record.

        Raises:
            Empty: if none arrives within `timeout` seconds.
            EOFError: at the end of the pipe, and for invalid data.
        """
        if not self._pipe.poll(timeout):
            raise Empty
        try:
            return decode_record(self._pipe.recv_bytes(MAX_MESSAGE_BYTES))
        except msgspec.DecodeError as error:
            raise EOFError from error

    def qsize(self) -> int:
        """Return 1 if there is a record or the end of the pipe to read, else 0."""
        return int(self._pipe.poll())

    def close(self) -> None:
        """Close the pipe."""
        self._pipe.close()

    def join_thread(self) -> None:
        """Do nothing: a pipe has no thread."""


def tail(path: Path) -> str:
    """Return the last lines of a log; empty if there are none.

    Skips empty lines, and the long list of modules at the end of faulthandler's report.
    """
    try:
        text = read_end(path, TAIL_BYTES)
    except OSError:
        return ""
    lines = [
        line
        for line in text.splitlines()
        if line.strip() and not line.startswith(("Extension modules:", ", "))
    ]
    return "\n".join(lines[-TAIL_LINES:])


def read_end(path: Path, max_bytes: int) -> str:
    """Read the end of a log; raises `OSError`."""
    with path.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - max_bytes))
        return log.read().decode(errors="backslashreplace")


def append_story(path: Path, lines: Iterable[str]) -> None:
    """Append the supervisor's log lines of an attempt to its log; never raises."""
    with contextlib.suppress(OSError), path.open("a", encoding="utf-8", errors="replace") as log:
        log.writelines(f"{line}\n" for line in ("", "Supervisor log:", *lines))

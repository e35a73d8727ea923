"""Runs in the supervisor. The log of an attempt: what the child logs, prints, and crashes with.

The child appends to the file by itself what it prints and what C libraries print. What it logs
comes through a pipe to a handler of multiprocessing-logging's, one for each child, which writes it
into the same file. One handler and one pipe a child, because a child that is killed while it writes
takes down what it shares with others.

The library's own queue is replaced. It is pickled, and what a broken child sends must not become
code here (docs/decisions/0002-messages.md); and its end that the supervisor holds would keep the
handler waiting for a child that is dead.
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
from stemsplit.supervisor.inbox import LARGEST_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.connection import Connection
    from pathlib import Path

TAIL_BYTES = 16_384
TAIL_LINES = 100

# Begins a line of its own wherever the child is in the midst of one, as in a crash report.
_FORMAT = "\n%(asctime)s %(levelname)s %(name)s: %(message)s"


class AttemptLog:
    """Receives what one child logs, until it is closed.

    Args:
        path: of the file, which the child appends to as well.
        pipe: from the child; closed with this.
    """

    def __init__(self, path: Path, pipe: Connection) -> None:
        """Start to receive."""
        file = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace", delay=True)
        file.setFormatter(logging.Formatter(_FORMAT))
        self._handler = _PipeHandler(f"log of {path.name}", file, _PipeQueue(pipe))

    def close(self) -> None:
        """Take what is still in the pipe of a child that is gone, and end the handler's thread."""
        self._handler.close()


class _PipeHandler(MultiProcessingHandler):  # type: ignore[misc] # it has no types
    """The library's handler on a queue that is given to it.

    Its own constructor makes a `multiprocessing.Queue`, and so decides the whole program's start
    method; a program that sets one later would fail.
    """

    def __init__(self, name: str, sub_handler: logging.Handler, queue: _PipeQueue) -> None:
        logging.Handler.__init__(self)
        self.sub_handler = sub_handler
        self.setFormatter(sub_handler.formatter)
        self.queue = queue
        self._is_closed = False
        self._receive_thread = threading.Thread(target=self._receive, name=name, daemon=True)
        self._receive_thread.start()


class _PipeQueue:
    """A pipe, as the queue that `MultiProcessingHandler` takes records from."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def get(self, timeout: float) -> logging.LogRecord:
        """Give the next record; raises `Empty` in time, `EOFError` at the end or for garbage."""
        if not self._pipe.poll(timeout):
            raise Empty
        try:
            return decode_record(self._pipe.recv_bytes(LARGEST_MESSAGE_BYTES))
        except msgspec.DecodeError as error:
            raise EOFError from error

    def qsize(self) -> int:
        """Tell whether there is a record, or the end of the pipe, to take."""
        return int(self._pipe.poll())

    def close(self) -> None:
        """Close the pipe."""
        self._pipe.close()

    def join_thread(self) -> None:
        """Nothing to wait for: a pipe has no thread."""


def tail(path: Path) -> str:
    """Give the last lines of a log, empty if there are none.

    Left out are empty lines, and the long list of modules that faulthandler ends its report with.
    """
    try:
        text = end_of(path, TAIL_BYTES)
    except OSError:
        return ""
    told = (line for line in text.splitlines() if line.strip())
    lines = [line for line in told if not line.startswith(("Extension modules:", ", "))]
    return "\n".join(lines[-TAIL_LINES:])


def end_of(path: Path, most_bytes: int) -> str:
    """Give the end of a log as it stands; raises `OSError`."""
    with path.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - most_bytes))
        return log.read().decode(errors="backslashreplace")


def append(path: Path, lines: Iterable[str]) -> None:
    """Add the supervisor's own account of an attempt to its log; never raises."""
    with contextlib.suppress(OSError), path.open("a", encoding="utf-8", errors="replace") as log:
        log.writelines(f"{line}\n" for line in ("", "The supervisor's account:", *lines))

"""Runs in the supervisor. Standard streams that are closed, or that cannot be written any more.

A full disk, a terminal that is gone or a reader that has ended does not end a batch: what is
written goes nowhere from then on, and `lost` holds the error.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_NAMES = {1: "stdout", 2: "stderr"}

lost: dict[str, OSError] = {}
"""The errors for which `stdout` or `stderr` cannot be written; empty while they can."""


class _Unfailing(io.FileIO):
    """A descriptor that becomes the null device when it cannot be written."""

    def write(self, data: ReadableBuffer) -> int:
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])  # a pipe that is full and does not wait by itself
        except OSError as error:
            number = self.fileno()
            lost[_NAMES[number]] = error
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.close(null)
            return memoryview(data).nbytes
        return written


def prepare() -> None:
    """Make the standard streams of this process ones that can always be written.

    A name that cannot be encoded is written with escapes. A stream that is closed becomes the null
    device: the next file that is opened would take its number, and what libraries print with it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Takes the lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the life of the process
    for number, name in _NAMES.items():
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, io.TextIOWrapper):
            continue  # of a test or a program
        if stream is not None and (
            stream is not getattr(sys, f"__{name}__") or _is_console(stream)
        ):
            stream.reconfigure(errors="backslashreplace")
            continue
        setattr(sys, name, _unfailing(number, stream))


def _is_console(stream: io.TextIOWrapper) -> bool:
    """Return whether it is a console of Windows, which takes text and not bytes."""
    return os.name == "nt" and stream.isatty()


def _unfailing(number: int, stream: io.TextIOWrapper | None) -> io.TextIOWrapper:
    raw = _Unfailing(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=stream is None or stream.line_buffering,
        write_through=stream is not None and stream.write_through,
    )

"""Runs in the supervisor. Keeps a batch running when a standard stream is closed or fails.

After the first error (a full disk, a closed terminal, a reader that exited) further output is
discarded, and `errors` holds the error.
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

errors: dict[str, OSError] = {}
"""First write error of `stdout` and `stderr`; empty while both work."""


class _FailSafeFile(io.FileIO):
    """A descriptor that becomes the null device after the first write error."""

    def write(self, data: ReadableBuffer) -> int:
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])  # a full pipe in non-blocking mode
        except OSError as error:
            number = self.fileno()
            errors[_NAMES[number]] = error
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.close(null)
            return memoryview(data).nbytes
        return written


def prepare() -> None:
    """Replace the standard streams of this process with streams whose writes never fail.

    Characters that the encoding lacks are escaped. A closed stream becomes the null device:
    otherwise the next opened file would get its number, and with it the output of libraries.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the life of the process
    for number, name in _NAMES.items():
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, io.TextIOWrapper):
            continue  # replaced by a test or a program
        if stream is not None and (
            stream is not getattr(sys, f"__{name}__") or _is_console(stream)
        ):
            stream.reconfigure(errors="backslashreplace")
            continue
        setattr(sys, name, _fail_safe_stream(number, stream))


def _is_console(stream: io.TextIOWrapper) -> bool:
    """Return whether the stream is a Windows console, which accepts text instead of bytes."""
    return os.name == "nt" and stream.isatty()


def _fail_safe_stream(number: int, stream: io.TextIOWrapper | None) -> io.TextIOWrapper:
    raw = _FailSafeFile(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=stream is None or stream.line_buffering,
        write_through=stream is not None and stream.write_through,
    )

"""Runs in the supervisor. The error for a failed start of a process, and guards around a start."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import warnings
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.core.errors import EngineError
from stemsplit.core.text import system_message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_SPARE_FILES = 12
"""Open files that a start needs for a moment, together with the journal and the logs."""

EXHAUSTED = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Error numbers for a system that is out of processes, open files or memory."""


class CannotStartError(EngineError):
    """The system starts no further process.

    Attributes:
        is_temporary: whether a start may succeed after other processes have exited.
    """

    is_temporary = False

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Return the error for a start that failed with `error`, with a remedy."""
        number = getattr(error, "errno", None) or 0
        if isinstance(error, RuntimeError):  # Python cannot start a thread
            number = errno.EAGAIN
        remedy = {
            errno.EMFILE: "Allow more open files: `ulimit -n 1024`.",
            errno.EAGAIN: "Close other programs, or allow more processes: `ulimit -u 4096`.",
        }.get(number, "Close other programs; if that does not help, reinstall stemsplit.")
        detail = system_message(error) if isinstance(error, OSError) else f"{error}"
        new = cls(f"No child process can be started ({detail}).", remedy)
        new.is_temporary = number in EXHAUSTED
        return new


def require_spare_files() -> None:
    """Check that another child can be started without taking files from the running ones.

    Raises:
        CannotStartError: if too few files can be opened for another child.
    """
    spare: list[int] = []
    try:
        spare.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(_SPARE_FILES))
    except OSError as error:
        raise CannotStartError.of(error) from error
    finally:
        for descriptor in spare:
            os.close(descriptor)


@contextlib.contextmanager
def importable_main_module() -> Iterator[None]:
    """Hide the path of a main module that is not a file, as for a program from standard input.

    A child would try to import it and fail (spawn.get_preparation_data in CPython).
    """
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if main is None or path is None or Path(path).is_file():
        yield
        return
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = path


@contextlib.contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C in this thread and in the processes that it starts, which inherit the mask.

    A terminal sends Ctrl-C to them too, and during their imports they would print a traceback. The
    supervisor receives it when the context ends.
    """
    if sys.platform == "win32":  # which has no signal masks
        yield
        return
    with warnings.catch_warnings():  # a dead tracker is replaced; it holds nothing of stemsplit
        warnings.simplefilter("ignore")
        resource_tracker.ensure_running()  # before the block, which its start would undo
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

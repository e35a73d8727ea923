"""Runs in the child, first of all: finds the child's program and calls it.

`multiprocessing` wants a function that both sides can import. Naming the program as text keeps the
supervisor from importing what only a child may (import contracts in pyproject.toml), and lets
tests put a misbehaving program in its place.
"""

import faulthandler
import os
import sys
from importlib import import_module
from multiprocessing.connection import Connection

SESSION_VARIABLE = "STEMSPLIT_SESSION"
"""Names the household's folder in the environment of all that a supervisor has started."""

READY_FILE = "fork-server-is-ready"
"""Appears in that folder when the fork server has done its imports."""


def resolve(target: str) -> object:
    """Import `package.module:name` and return what it names."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def enter(
    program: str, pipe: Connection, log_channel: Connection, task: bytes, log_file: bytes
) -> None:
    """Call what `program` names with the pipes to the supervisor and the packed task.

    From here on all that is printed goes to the log, what breaks while the program is imported
    included.
    """
    catch_output(log_file)
    run = resolve(program)
    if not callable(run):
        message = f"{program} is not a function"
        raise TypeError(message)
    run(pipe, log_channel, task)


def catch_output(log_file: bytes) -> None:
    """Send what Python and C libraries print, and the stacks of crashes, into a file."""
    try:
        log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:  # the disk for temporary files is full, or its cleaner was here
        log = os.open(os.devnull, os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    # multiprocessing may have given this process streams of its own.
    sys.stdout = os.fdopen(1, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    faulthandler.enable(file=2)

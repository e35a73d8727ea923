"""Runs in the child. Its entry point: redirects output to the log and calls the child's program.

`multiprocessing` needs a function that both sides can import. The program is named as text, so
that the supervisor does not import the child's modules (see the import contracts in
pyproject.toml) and tests can substitute a misbehaving program.
"""

import faulthandler
import os
import sys
from importlib import import_module
from multiprocessing.connection import Connection

SESSION_VARIABLE = "STEMSPLIT_SESSION"
"""Environment variable that names the session's folder in every process of the session."""

READY_FILE = "fork-server-is-ready"
"""File in the session's folder that the fork server creates when its imports are done."""

PRELOAD_DONE = "stemsplit.child.fork_server_preload"
"""Last module that a fork server imports; its import creates the file above."""


def resolve(target: str) -> object:
    """Import `package.module:name` and return that object."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def enter(
    program: str, pipe: Connection, log_channel: Connection, task: bytes, log_file: bytes
) -> None:
    """Call `program` with the pipes to the supervisor and the encoded task.

    All output goes to the log from here on, including errors while the program is imported.

    Args:
        program: `module:function` of the child's program.
        pipe: connection for messages.
        log_channel: connection for log records.
        task: an encoded `stemsplit.core.messages.Task`.
        log_file: path of the attempt's log.
    """
    redirect_output(log_file)
    run = resolve(program)
    if not callable(run):
        message = f"{program} is not a function"
        raise TypeError(message)
    run(pipe, log_channel, task)


def redirect_output(log_file: bytes) -> None:
    """Redirect standard output, standard error and crash stacks to a file."""
    try:
        log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:  # the temporary disk is full, or a cleaner removed the folder
        log = os.open(os.devnull, os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    # multiprocessing may have replaced this process's streams.
    sys.stdout = os.fdopen(1, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    faulthandler.enable(file=2)

"""Runs in the child, first of all: finds the child's program and calls it.

`multiprocessing` wants a function that both sides can import. Naming the program as text keeps the
supervisor from importing what only a child may (import contracts in pyproject.toml), and lets
tests put a misbehaving program in its place.
"""

from importlib import import_module
from multiprocessing.connection import Connection

HOUSEHOLD_MARK = "STEMSPLIT_HOUSEHOLD"
"""Names the household's folder in the environment of all that a supervisor has started."""

READY_FILE = "fork-server-is-ready"
"""Appears in that folder when the fork server has done its imports."""


def resolve(target: str) -> object:
    """Import `package.module:name` and return what it names."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def enter(program: str, pipe: Connection, log_channel: Connection, task: bytes) -> None:
    """Call what `program` names with the pipes to the supervisor and the packed task."""
    run = resolve(program)
    if not callable(run):
        message = f"{program} is not a function"
        raise TypeError(message)
    run(pipe, log_channel, task)

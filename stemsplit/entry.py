"""Runs in the child, first of all: finds the child's program and calls it.

`multiprocessing` wants a function that both sides can import. Naming the program as text keeps the
supervisor from importing what only a child may (import contracts in pyproject.toml), and lets
tests put a misbehaving program in its place.
"""

from importlib import import_module
from multiprocessing.connection import Connection


def resolve(target: str) -> object:
    """Import `package.module:name` and return what it names."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def enter(program: str, pipe: Connection, task: bytes) -> None:
    """Call what `program` names with the pipe to the supervisor and the packed task."""
    run = resolve(program)
    if not callable(run):
        message = f"{program} is not a function"
        raise TypeError(message)
    run(pipe, task)

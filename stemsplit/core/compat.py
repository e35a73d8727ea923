"""Runs in both. Backports for Python 3.10, and commands that never import from the current folder.

`python -c` and `python -m` search the current folder for modules first, which may be a folder of
music from anywhere. No process that stemsplit starts does that.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
from enum import Enum
from multiprocessing import util
from typing import TYPE_CHECKING, Any

if sys.version_info >= (3, 11):
    from enum import StrEnum

    import tomllib
else:
    import tomli as tomllib

    class StrEnum(str, Enum):
        """An enumeration whose members are strings and format as such."""

        __str__ = str.__str__
        __format__ = str.__format__


if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext

__all__ = [
    "StrEnum",
    "make_pipe",
    "multiprocessing_imports_safely",
    "run_module",
    "safe_path",
    "tomllib",
]

_WITHOUT_CURRENT_FOLDER = (
    "import sys; sys.path[:] = filter(None, sys.path); del sys.argv[0]; exec(sys.argv.pop(1))"
)
"""Replaces -P, which Python 3.10 lacks: runs the program that follows as another `-c PROGRAM`."""

_lock = threading.RLock()
_flags = util._args_from_interpreter_flags  # type: ignore[attr-defined]  # noqa: SLF001


def make_pipe(context: BaseContext | None = None, *, duplex: bool) -> tuple[Connection, Connection]:
    """Return both ends of a new pipe, as `multiprocessing.Pipe` does.

    On Windows they have another class, which mypy does not accept as a `Connection`, with the same
    methods.
    """
    make: Any = multiprocessing if context is None else context
    pipe: tuple[Connection, Connection] = make.Pipe(duplex=duplex)
    return pipe


def safe_path() -> tuple[str, ...]:
    """Return the option that stops Python from importing from the script's or current folder."""
    return ("-P",) if sys.version_info >= (3, 11) else ()


def run_module(name: str) -> tuple[str, ...]:
    """Return the command that runs a module without importing from the current folder."""
    if sys.version_info >= (3, 11):
        return (sys.executable, "-P", "-m", name)
    program = (
        "import sys; sys.path.remove(''); import runpy; "
        f"runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
    )
    return (sys.executable, "-c", program)


@contextlib.contextmanager
def multiprocessing_imports_safely() -> Iterator[None]:
    """Make multiprocessing start processes that do not import from the current folder.

    Children, fork server and resource tracker start as `python -c` and import modules before they
    receive the `sys.path` of this process. multiprocessing has no public way to add an option to
    their command.
    """
    with _lock:
        flags = util._args_from_interpreter_flags  # type: ignore[attr-defined]  # noqa: SLF001
        more = safe_path() or ("-c", _WITHOUT_CURRENT_FOLDER)
        util._args_from_interpreter_flags = lambda: [*flags(), *more]  # type: ignore[attr-defined]  # noqa: SLF001
        try:
            yield
        finally:
            util._args_from_interpreter_flags = flags  # type: ignore[attr-defined]  # noqa: SLF001


def _after_fork() -> None:
    """Undo in a forked process what another thread had begun."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()
    util._args_from_interpreter_flags = _flags  # type: ignore[attr-defined]  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

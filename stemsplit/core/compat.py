"""Runs in both. What Python 3.10 lacks of 3.11, and the commands of processes that import safely.

`python -c` and `python -m` look for modules in the current folder before all others, and that may
be a folder of music from anywhere. No process that stemsplit starts does so.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from enum import Enum
from multiprocessing import util
from typing import TYPE_CHECKING

if sys.version_info >= (3, 11):
    from enum import StrEnum

    import tomllib
else:
    import tomli as tomllib

    class StrEnum(str, Enum):
        """Members that are texts, and are written as such."""

        __str__ = str.__str__
        __format__ = str.__format__


if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["StrEnum", "multiprocessing_imports_safely", "run_module", "safe_path", "tomllib"]

_WITHOUT_CURRENT_FOLDER = (
    "import sys; sys.path[:] = filter(None, sys.path); del sys.argv[0]; exec(sys.argv.pop(1))"
)
"""For Python 3.10, which lacks -P: runs the program that follows as another `-c PROGRAM`."""

_lock = threading.RLock()
_flags = util._args_from_interpreter_flags  # type: ignore[attr-defined]  # noqa: SLF001


def safe_path() -> tuple[str, ...]:
    """Give the option that keeps Python from looking for modules beside a script or where it is."""
    return ("-P",) if sys.version_info >= (3, 11) else ()


def run_module(name: str) -> tuple[str, ...]:
    """Give the command that runs a module as a program, with nothing of the present folder."""
    if sys.version_info >= (3, 11):
        return (sys.executable, "-P", "-m", name)
    program = (
        "import sys; sys.path.remove(''); import runpy; "
        f"runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
    )
    return (sys.executable, "-c", program)


@contextlib.contextmanager
def multiprocessing_imports_safely() -> Iterator[None]:
    """Keep what multiprocessing starts meanwhile from importing from the current folder.

    Its children, fork server and resource tracker begin as `python -c`, and import until they have
    the `sys.path` of this process, which children get then: a program's own folder stays on it.
    There is no public way to add an option to their command.
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
    """Undo in a copy of the program what another thread was at."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()
    util._args_from_interpreter_flags = _flags  # type: ignore[attr-defined]  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

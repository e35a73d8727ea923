"""Runs in the supervisor. One run at a time for an output folder.

The lock is the system's own, on a file that stays: it ends with the process that holds it, however
that ends, so that nothing stale is ever in the way. Who holds it is written beside it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

import filelock
import msgspec

from stemsplit.core.errors import ExitCode, StemsplitError, UsageError
from stemsplit.core.text import printable, quoted
from stemsplit.core.units import Moment
from stemsplit.storage.publish import refused
from stemsplit.storage.untrusted import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stemsplit.journal.layout import OutputLayout


_MOST_BYTES = 2**16
"""Of the file that names the holder."""

_GLANCE_SECONDS = 0.5
"""`is_held` holds the lock itself for a moment."""


class LockedError(StemsplitError):
    """Another run holds the output folder."""

    exit_code = ExitCode.LOCKED


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The run that holds an output folder.

    Attributes:
        pid: of its supervisor.
        host: the machine's name.
        since: when it began, in seconds since 1970.
    """

    pid: int
    host: str
    since: Moment

    def __str__(self) -> str:
        """Give it in words."""
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.since))
        return f"process {self.pid} on {printable(self.host)}, since {since}"


@contextlib.contextmanager
def held(state: OutputLayout, note: Callable[[str], None] = lambda _text: None) -> Iterator[None]:
    """Hold the lock of an output folder within this.

    Args:
        state: of the output folder; made if need be.
        note: is told where the file system knows no locks.

    Raises:
        LockedError: if another run holds it, with who that is.
        UnwritableError, DiskFullError: if the folder cannot be written.
        StemsplitError: if something in the folder of the lock leads elsewhere.
    """
    state.require_own()
    lock = filelock.FileLock(state.lock)
    try:
        state.make()
        lock.acquire(timeout=_GLANCE_SECONDS)
        state.share(state.lock)
    except filelock.Timeout as error:
        holder = holder_of(state)
        raise LockedError(
            f"Another run is separating into {quoted(state.output)}: "
            f"{holder or 'its process left no word'}.",
            "Wait for it (`stemsplit status` shows how far it is), or name another folder with -o.",
        ) from error
    except NotImplementedError:
        note(
            f"the file system of {quoted(state.output)} knows no locks: see to it yourself that no "
            "second run writes there"
        )
    except OSError as error:
        raise refused(state.output, error) from error
    try:
        me = Holder(pid=os.getpid(), host=socket.gethostname(), since=time.time())
        with contextlib.suppress(OSError):  # a full disk; the lock holds all the same
            state.write(_holder_file(state), msgspec.json.encode(me))
        yield
    finally:
        with contextlib.suppress(OSError):
            _holder_file(state).unlink(missing_ok=True)
        lock.release()


def holder_of(state: OutputLayout) -> Holder | None:
    """Tell who holds an output folder, as it is written there; None if nobody says so.

    After a run that was killed this still names it: `is_held` tells.
    """
    try:
        return msgspec.json.decode(read_file(_holder_file(state), _MOST_BYTES), type=Holder)
    except (OSError, msgspec.DecodeError, RecursionError):
        return None


def is_held(state: OutputLayout) -> bool:
    """Tell whether a run holds the output folder at this moment; writes nothing.

    Raises:
        StemsplitError: if something in the folder of the lock leads elsewhere.
    """
    state.require_own()
    if not state.lock.exists():
        return False
    lock = filelock.FileLock(state.lock)
    try:
        with lock.acquire(timeout=0):
            return False
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):
        return holder_of(state) is not None


def nothing_there(state: OutputLayout) -> UsageError:
    """Say that no run is known of an output folder, or that one is just beginning."""
    if is_held(state):
        return UsageError(
            f"A run into {quoted(state.output)} is just beginning.", "Ask again in a moment."
        )
    return UsageError(
        f"Nothing was separated into {quoted(state.output)} so far.",
        "Name the folder that was given to `stemsplit separate` with -o.",
    )


def _holder_file(state: OutputLayout) -> Path:
    return state.folder / "holder.json"

"""Runs in the supervisor. Locks an output folder, for one run at a time.

The operating system holds the lock, on a file that stays: the lock ends with its process, even if
that is killed, so it is never stale. Another file names the holder.
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
from stemsplit.storage.small_files import read_json
from stemsplit.storage.write_errors import write_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stemsplit.journal.output_layout import OutputLayout

_MAX_BYTES = 2**16
"""Maximum size of the file that names the holder."""

_TIMEOUT_SECONDS = 0.5
"""Time to wait for the lock, which `is_locked` holds for a moment."""


class LockedError(StemsplitError):
    """Another run has locked the output folder."""

    exit_code = ExitCode.LOCKED


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The run that has locked an output folder.

    Attributes:
        pid: process id of its supervisor.
        host: name of its machine.
        since: time of its start, in seconds since 1970.
    """

    pid: int
    host: str
    since: Moment

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.since))
        return f"process {self.pid} on {printable(self.host)}, since {since}"


@contextlib.contextmanager
def hold_lock(
    layout: OutputLayout, note: Callable[[str], None] = lambda _text: None
) -> Iterator[None]:
    """Lock an output folder while the context is open.

    Args:
        layout: the layout of the output folder, which is created if missing.
        note: called with a message for the user if the file system does not support locks.

    Raises:
        LockedError: if another run has locked it; the message names that run.
        UnwritableError, DiskFullError: if the folder cannot be written.
        StemsplitError: as `OutputLayout.check_entries`.
    """
    layout.check_entries()
    lock = filelock.FileLock(layout.lock)
    try:
        layout.make_folder()
        lock.acquire(timeout=_TIMEOUT_SECONDS)
        layout.share_access(layout.lock)
    except filelock.Timeout as error:
        holder = read_holder(layout)
        raise LockedError(
            f"Another run is writing to {quoted(layout.output)}: {holder or 'an unknown process'}.",
            "Wait for it (`stemsplit status` shows its progress), or choose another folder with "
            "-o.",
        ) from error
    except NotImplementedError:
        note(
            f"the file system of {quoted(layout.output)} does not support locks: make sure that no "
            "other run writes there"
        )
    except OSError as error:
        raise write_error(layout.output, error) from error
    try:
        holder = Holder(pid=os.getpid(), host=socket.gethostname(), since=time.time())
        with contextlib.suppress(OSError):  # a full disk does not affect the lock
            layout.write(_holder_file(layout), msgspec.json.encode(holder))
        yield
    finally:
        with contextlib.suppress(OSError):
            _holder_file(layout).unlink(missing_ok=True)
        lock.release()


def read_holder(layout: OutputLayout) -> Holder | None:
    """Return the run that has locked an output folder, as recorded there; None if unknown.

    A killed run stays recorded; `is_locked` returns whether the lock is held.
    """
    try:
        return read_json(_holder_file(layout), Holder, _MAX_BYTES)
    except (OSError, msgspec.DecodeError):
        return None


def is_locked(layout: OutputLayout) -> bool:
    """Return whether a run has locked the output folder; writes nothing.

    Raises:
        StemsplitError: as `OutputLayout.check_entries`.
    """
    layout.check_entries()
    if not layout.lock.exists():
        return False
    lock = filelock.FileLock(layout.lock)
    try:
        with lock.acquire(timeout=0):
            return False
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):
        return read_holder(layout) is not None


def no_run_error(layout: OutputLayout) -> UsageError:
    """Return the error for an output folder without a recorded run."""
    if is_locked(layout):
        return UsageError(
            f"A run into {quoted(layout.output)} is just starting.", "Try again in a moment."
        )
    return UsageError(
        f"Nothing has been separated into {quoted(layout.output)} yet.",
        "Name the folder that was passed to `stemsplit separate` with -o.",
    )


def _holder_file(layout: OutputLayout) -> Path:
    return layout.folder / "holder.json"

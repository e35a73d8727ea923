"""Runs in the child. Disk helpers: free space, flushing, and the error for a failed write."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING

import soundfile

from stemsplit.core.errors import (
    FREE_DISK_SPACE,
    DiskFullError,
    StemsplitError,
    UnwritableError,
    is_disk_full,
)

if TYPE_CHECKING:
    from pathlib import Path

_PROBE_BYTES = 2**16
"""Space that the header of any container needs."""

_SYSTEM_ERROR = 2
"""libsndfile's SF_ERR_SYSTEM: a call of the operating system has failed."""


def explain_write_error(folder: Path, error: Exception) -> StemsplitError:
    """Return the error for users that corresponds to a failed write below `folder`.

    The audio libraries do not report a full disk reliably, so the disk itself is checked as well.
    If a write that failed works now, another child has freed space meanwhile.
    """
    errno_now = _errno_of_append(folder)
    was_full = errno_now == 0 and _is_failed_write(error)
    if is_disk_full(error) or "No space left" in str(error) or _is_full(folder) or was_full:
        return DiskFullError("The disk of the output folder is full.", FREE_DISK_SPACE)
    if errno_now == errno.EFBIG:
        return UnwritableError(
            "A stem is too large for this disk: its file system limits the size of files.",
            "Use --format flac, whose files are smaller, or choose a folder on another disk "
            "with -o.",
        )
    return UnwritableError(
        f"The output folder cannot be written ({getattr(error, 'strerror', None) or error}).",
        "Check its permissions and the disk, or choose another folder with -o.",
    )


def _is_failed_write(error: Exception) -> bool:
    """Return whether libsndfile could not write; it reports no reason."""
    is_system_error = isinstance(error, soundfile.LibsndfileError) and error.code == _SYSTEM_ERROR
    return is_system_error and not getattr(error, "prefix", "")  # "Error opening" and the path


def _errno_of_append(folder: Path) -> int | None:
    """Append to the files in a folder, which are incomplete.

    Returns:
        the number of the first error, such as EFBIG for a file of 4 GiB on FAT; 0 if there is
        none; None if there are no files.
    """
    found = None
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            try:
                with path.open("ab") as file:
                    file.write(bytes(_PROBE_BYTES))
            except OSError as error:
                return error.errno
            found = 0
    return found


def _is_full(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return free_bytes(folder) < _PROBE_BYTES
    return False


def free_bytes(folder: Path) -> int:
    """Return how many bytes an unprivileged user can still write to the disk of `folder`."""
    return shutil.disk_usage(folder).free


def fsync(path: Path) -> None:
    """Flush a file to disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

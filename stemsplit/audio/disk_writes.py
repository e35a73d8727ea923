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

_NO_ERROR = 0

_SYSTEM_ERROR = 2
"""libsndfile's SF_ERR_SYSTEM: a call of the operating system has failed."""


def explain_write_error(folder: Path, error: Exception) -> StemsplitError:
    """Return the error for users that corresponds to a failed write below `folder`.

    The audio libraries do not report a full disk reliably, so the disk itself is checked as well.
    If a write that failed works now, another child has freed space meanwhile.
    """
    full = DiskFullError("The disk of the output folder is full.", FREE_DISK_SPACE)
    if is_disk_full(error) or "No space left" in str(error) or _is_full(folder):
        return full
    found = _errors_of_append(folder)
    if not found.isdisjoint({errno.ENOSPC, errno.EDQUOT}):
        return full
    if found == {_NO_ERROR} and _is_failed_write(error):
        return full
    if errno.EFBIG in found:
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


def _errors_of_append(folder: Path) -> set[int | None]:
    """Append to the files in a folder, which are incomplete, and return the errors.

    Returns:
        error numbers, such as EFBIG for a file of 4 GiB on FAT, and `_NO_ERROR` if a file could be
        extended; empty if there are no files.
    """
    found: set[int | None] = set()
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            try:
                with path.open("ab") as file:
                    file.write(bytes(_PROBE_BYTES))
            except OSError as error:
                found.add(error.errno)
            else:
                found.add(_NO_ERROR)
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

"""Runs in the child. Disk helpers: free space, flushing, and the error for a failed write."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING

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


def explain_write_error(folder: Path, error: Exception) -> StemsplitError:
    """Return the error for users that corresponds to a failed write below `folder`.

    The audio libraries do not report a full disk reliably, so the disk itself is checked as well.
    """
    if is_disk_full(error) or "No space left" in str(error) or _is_full(folder):
        return DiskFullError("The disk of the output folder is full.", FREE_DISK_SPACE)
    if _is_at_size_limit(folder):
        return UnwritableError(
            "A stem is too large for this disk: its file system limits the size of files.",
            "Use --format flac, whose files are smaller, or choose a folder on another disk "
            "with -o.",
        )
    return UnwritableError(
        f"The output folder cannot be written ({getattr(error, 'strerror', None) or error}).",
        "Check its permissions and the disk, or choose another folder with -o.",
    )


def _is_at_size_limit(folder: Path) -> bool:
    """Return whether a file in the folder has reached its largest size: 4 GiB on FAT."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            try:
                with path.open("ab") as file:
                    file.write(bytes(_PROBE_BYTES))
            except OSError as error:
                if error.errno == errno.EFBIG:
                    return True
    return False


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

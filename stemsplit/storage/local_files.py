"""Runs in the supervisor. Moves files on local file systems: renames, fsync, removal.

Implements `stemsplit.storage.backends.Backend`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MOVES_FOLDERS = True


def exists(path: Path) -> bool:
    """Return whether a file or folder exists; raise `OSError` if that cannot be checked."""
    try:  # `Path.exists` returns False for every error from Python 3.14 on
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def fingerprint(path: bytes) -> tuple[int, int] | None:
    """Return a file's size and time of change in nanoseconds, or None if it does not exist."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def check_writable(staging: Path) -> None:
    """Create a staging folder, and remove it; raise `OSError` if that fails."""
    staging.mkdir(parents=True)
    staging.rmdir()


def prepare(targets: Iterable[Path]) -> None:
    """Create the folders of `targets`, and raise what would stop a rename to one of them."""
    targets = list(targets)
    for path in targets:
        path.parent.mkdir(parents=True, exist_ok=True)
    for path in targets:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path.parent)


def move(source: Path, target: Path) -> None:
    """Rename a file, replacing `target`; do nothing if the source is missing."""
    if exists(source):
        source.replace(target)


def move_folder(source: Path, target: Path) -> bool:
    """Rename a folder to `target` if that is missing or an empty folder.

    Returns:
        whether the folder was renamed.
    """
    if not source.exists() or not _is_free(target):
        return False
    fsync_folder(source)
    if target.is_dir():
        target.rmdir()
    source.rename(target)
    return True


def _is_free(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def fsync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk, where the system supports it for folders."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):  # unsupported by some network file systems
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Remove a folder with its content; never raises."""
    shutil.rmtree(folder, ignore_errors=True)

"""Runs in the supervisor. From a hidden work folder to stems that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from typing import TYPE_CHECKING

from stemsplit.errors import DiskFullError, UnwritableError, says_disk_is_full
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

WORK_PREFIX = ".stemsplit-"
"""Begins the name of every work folder; the dot hides it from people and from `scan`."""


def check_writable(output: Path) -> None:
    """Make the output folder if need be and try to write there.

    Raises:
        UnwritableError: if that fails.
        DiskFullError: if it fails for want of room.
    """
    make_work_folder(output / "track").rmdir()


def make_work_folder(destination: Path) -> Path:
    """Make an empty hidden folder beside `destination`, on the same file system.

    Raises:
        UnwritableError: if that fails.
        DiskFullError: if it fails for want of room.
    """
    work = destination.parent / f"{WORK_PREFIX}{uuid.uuid4().hex}"
    try:
        work.mkdir(parents=True)
    except OSError as error:
        raise _refused(destination.parent, error) from error
    return work


def publish(work: Path, destination: Path, file_names: Iterable[str]) -> None:
    """Make the finished files of `work` visible in `destination`.

    Where `destination` does not exist or is empty, one rename shows all files at once. Where it
    holds files, each stem is renamed into it, over an older one of the same name, and other files
    there stay; each stem is then old or new as a whole, but a power cut between two renames can
    leave a new one beside an old one.

    Raises:
        UnwritableError: if a rename fails.
    """
    try:
        if destination.is_dir() and any(destination.iterdir()):
            for name in file_names:
                (work / name).replace(destination / name)
            work.rmdir()
        else:
            if destination.is_dir():
                destination.rmdir()
            work.rename(destination)
        _fsync_folder(destination)
        _fsync_folder(destination.parent)
    except OSError as error:
        raise _refused(destination, error) from error


def discard(work: Path) -> None:
    """Remove a work folder with whatever a child left in it; never raises."""
    shutil.rmtree(work, ignore_errors=True)


def _fsync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk, where the system can do that for a folder."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(folder: Path, error: OSError) -> UnwritableError | DiskFullError:
    if says_disk_is_full(error):
        return DiskFullError(
            f"The disk of {quoted(folder)} is full.",
            "Make room, or name another folder with -o, and run the same command again.",
        )
    return UnwritableError(
        f"{quoted(folder)} cannot be written ({error.strerror}).",
        "Check its permissions, or name another folder with -o.",
    )

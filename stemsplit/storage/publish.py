"""Runs in the supervisor. From a hidden work folder to stems that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from typing import TYPE_CHECKING

from stemsplit.core.errors import (
    DiskFullError,
    UnreachableError,
    UnwritableError,
    says_disk_is_full,
)
from stemsplit.core.text import quoted
from stemsplit.storage import remote, remote_publish
from stemsplit.storage.remote import is_remote

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

STAGING_PREFIX = ".stemsplit-"
"""Begins the name of every work folder; the dot hides it from people and from `scan`."""


def check_writable(output: Path) -> None:
    """Make the output folder if need be and try to write there.

    Raises:
        UnwritableError: if that fails.
        DiskFullError: if it fails for want of room.
    """
    staging = name_staging_folder(output, output)
    if is_remote(staging):
        with _said(output):
            remote_publish.check_writable(staging)
        return
    make_staging_folder(staging)
    staging.rmdir()


def name_staging_folder(destination: Path, output: Path) -> Path:
    """Choose a hidden folder beside `destination`, on the same file system; makes nothing.

    Args:
        destination: takes the finished files.
        output: the folder for all stems, which is not left.
    """
    beside = output if destination == output else destination.parent
    return beside / f"{STAGING_PREFIX}{uuid.uuid4().hex}"


def make_staging_folder(staging: Path) -> None:
    """Make an empty work folder.

    Raises:
        UnwritableError: if that fails.
        DiskFullError: if it fails for want of room.
    """
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise refused(staging.parent, error) from error


def publish(staging: Path, moves: Mapping[str, Path]) -> None:
    """Make the finished files of `staging` visible, and remove it.

    Where all go into one folder that does not exist or is empty, one rename shows them together.
    Otherwise each file is renamed, over an older one of its name, and other files stay. A crash
    between two of these renames leaves some files shown and the others in `staging`: calling this
    again does the rest, as it does after a crash at any other point.

    Args:
        staging: the work folder.
        moves: for each file in it, the path to be shown as.

    Raises:
        UnwritableError, DiskFullError: if a rename fails.
    """
    folders = {path.parent for path in moves.values()}
    destination = next(iter(folders))
    if is_remote(staging):
        with _said(destination):
            remote_publish.publish(staging, moves)
        return
    together = len(folders) == 1 and len({path.name for path in moves.values()}) == len(moves)
    try:
        if together:
            moves = _renamed_inside(staging, moves)
        if together and staging.exists() and _is_free(destination):
            _fsync_folder(staging)
            if destination.is_dir():
                destination.rmdir()
            staging.rename(destination)
        else:
            _move_each(staging, moves)
    except OSError as error:
        raise refused(destination, error) from error
    for folder in {above for one in folders for above in _up_to(staging.parent, one)}:
        _fsync_folder(folder)
    discard(staging)


def take_back(staging: Path, moves: Mapping[str, Path], replaced: Collection[str]) -> bool:
    """After `publish` has failed: hide again what was shown, where nothing was replaced by it.

    Args:
        staging: the work folder.
        moves: as they were given to `publish`.
        replaced: names in `staging` that stand for files which were there before.

    Returns:
        whether nothing is shown any more.
    """
    if is_remote(staging):
        try:
            return remote_publish.take_back(staging, moves, replaced)
        except (OSError, UnreachableError):
            return False
    complete = True
    for name, path in moves.items():
        if (staging / name).exists() or (staging / path.name).exists():
            continue
        if name in replaced:
            complete = False
            continue
        try:
            path.replace(staging / name)
        except OSError:
            complete = False
    return complete


def left_behind(staging: Path, moves: Mapping[str, Path]) -> bool | None:
    """Tell whether any file is still in the work folder; None where nobody can tell now."""
    if is_remote(staging):
        try:
            return remote_publish.left_behind(staging, moves)
        except (OSError, UnreachableError):
            return None
    return any(
        (staging / name).exists() or (staging / path.name).exists() for name, path in moves.items()
    )


def require_one_disk(staging: Path, paths: Iterable[Path]) -> None:
    """Refuse places to which a file of the work folder cannot be renamed.

    Raises:
        UnwritableError: if one lies on another file system.
    """
    device = staging.stat().st_dev
    for path in paths:
        folder = next(above for above in path.parents if above.exists())
        if folder.stat().st_dev != device:
            raise UnwritableError(
                f"{quoted(folder)} lies on another disk than {quoted(staging.parent)}, so that the "
                "stems of a track could not appear together.",
                "Name an output folder that is on one disk, or choose --name so that all stems of "
                "a track are.",
            )


def is_there(path: Path) -> bool:
    """Tell whether a file or a folder exists; what cannot be looked at counts as there."""
    try:
        if not is_remote(path):
            return path.exists()
        return remote.status(path) is not None or remote.is_folder(path)
    except (OSError, UnreachableError):
        return True


@contextlib.contextmanager
def _said(folder: Path) -> Iterator[None]:
    """Say in a sentence why remote storage could not be written."""
    try:
        yield
    except OSError as error:
        raise refused(folder, error) from error


def _up_to(top: Path, folder: Path) -> Iterator[Path]:
    """Give a folder and those above it, up to `top` if it lies there."""
    yield folder
    while folder != top and folder.is_relative_to(top):
        folder = folder.parent
        yield folder


def _renamed_inside(staging: Path, moves: Mapping[str, Path]) -> dict[str, Path]:
    """Give the files their last names while nobody sees them."""
    for name, path in moves.items():
        if (staging / name).exists():  # else it has its last name already
            (staging / name).rename(staging / path.name)
    return {path.name: path for path in moves.values()}


def _move_each(staging: Path, moves: Mapping[str, Path]) -> None:
    for path in moves.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    _foresee(moves)
    for name, path in moves.items():
        if (staging / name).exists():
            (staging / name).replace(path)


def _foresee(moves: Mapping[str, Path]) -> None:
    """Meet what would stop a rename before the first of them, rather than in their midst."""
    for path in moves.values():
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path.parent)


def _is_free(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def discard(staging: Path) -> None:
    """Remove a work folder with whatever a child left in it; never raises."""
    if is_remote(staging):
        remote.remove(staging)
        return
    shutil.rmtree(staging, ignore_errors=True)


def _fsync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk, where the system can do that for a folder."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):  # some network file systems cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def refused(folder: Path, error: OSError) -> UnwritableError | DiskFullError:
    """Say why `folder` could not be written."""
    if says_disk_is_full(error):
        return DiskFullError(
            f"The disk of {quoted(folder)} is full.",
            "Make room, or name another folder with -o, and run the same command again.",
        )
    if isinstance(error, NotADirectoryError | FileExistsError):
        return UnwritableError(
            f"{quoted(folder)} cannot be written: a file is where a folder must be.",
            "Name another folder with -o.",
        )
    return UnwritableError(
        f"{quoted(folder)} cannot be written ({error.strerror}).",
        "Check its permissions, or name another folder with -o.",
    )

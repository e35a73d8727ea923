"""Runs in the supervisor. Publishes the stems in a hidden staging folder: all of them or none.

Works alike for local and remote files (`stemsplit.storage.backends`).
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

from stemsplit.core.errors import UnreachableError, UnwritableError
from stemsplit.core.text import quoted
from stemsplit.storage.backends import backend_of
from stemsplit.storage.write_errors import write_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from stemsplit.storage.backends import Backend

STAGING_PREFIX = ".stemsplit-"
"""Prefix of staging folders; the dot hides them from users and from `scan`."""


def check_writable(output: Path) -> None:
    """Create the output folder if it is missing, and write to it.

    Raises:
        UnwritableError: if that fails.
        DiskFullError: if the disk is full.
        UnreachableError: if remote storage cannot be written.
    """
    staging = name_staging_folder(output, output)
    with _translate_errors(output):
        backend_of(staging).check_writable(staging)


def name_staging_folder(destination: Path, output: Path) -> Path:
    """Return a path for a new hidden folder below `output`, on the disk of `destination`."""
    parent = output if destination == output else destination.parent
    return parent / f"{STAGING_PREFIX}{uuid.uuid4().hex}"


def make_staging_folder(staging: Path) -> None:
    """Create a local staging folder.

    Raises:
        UnwritableError: if that fails.
        DiskFullError: if the disk is full.
    """
    with _translate_errors(staging.parent):
        staging.mkdir(parents=True)


def require_same_disk(staging: Path, paths: Iterable[Path]) -> None:
    """Check that files of a local staging folder can be renamed to `paths`.

    Raises:
        UnwritableError: if a path is on another file system.
    """
    device = staging.stat().st_dev
    for path in paths:
        folder = next(parent for parent in path.parents if parent.exists())
        if folder.stat().st_dev != device:
            raise UnwritableError(
                f"{quoted(folder)} is on a different disk from {quoted(staging.parent)}, so the "
                "stems of a track cannot appear together.",
                "Choose an output folder on one disk, or a --name that keeps all stems of a track "
                "on one disk.",
            )


def publish(staging: Path, moves: Mapping[str, Path]) -> None:
    """Move the finished files of `staging` to their destinations, and remove it.

    If all local files go to one folder that is missing or empty, a single rename publishes them
    together. Otherwise each file is moved, replacing an older one of its name; other files stay. A
    crash between two moves leaves some files published and the others in `staging`: another call
    completes that, as it does after a crash at any other point.

    Args:
        staging: the staging folder.
        moves: the destination of each file in it.

    Raises:
        UnwritableError, DiskFullError, UnreachableError: if a move fails.
    """
    backend = backend_of(staging)
    folders = {path.parent for path in moves.values()}
    destination = next(iter(folders))
    with _translate_errors(destination):
        is_published = False
        if _moves_together(backend, moves):
            for name, path in moves.items():
                if name != path.name:
                    backend.move(staging / name, staging / path.name)
            moves = {path.name: path for path in moves.values()}
            is_published = backend.move_folder(staging, destination)
        if not is_published:
            backend.prepare(moves.values())
            for name, path in moves.items():
                backend.move(staging / name, path)
    for changed in {parent for folder in folders for parent in _up_to(staging.parent, folder)}:
        backend.fsync_folder(changed)
    discard(staging)


def _moves_together(backend: Backend, moves: Mapping[str, Path]) -> bool:
    """Return whether one rename of the staging folder could publish all files."""
    folders = {path.parent for path in moves.values()}
    names = {path.name for path in moves.values()}
    return backend.MOVES_FOLDERS and len(folders) == 1 and len(names) == len(moves)


def _up_to(top: Path, folder: Path) -> Iterator[Path]:
    """Yield a folder and its parents, up to `top` if that is one of them."""
    yield folder
    while folder != top and folder.is_relative_to(top):
        folder = folder.parent
        yield folder


def take_back(staging: Path, moves: Mapping[str, Path], replaced: Collection[str]) -> bool:
    """Move published files back after `publish` failed, except those that replaced older ones.

    Args:
        staging: the staging folder.
        moves: as passed to `publish`.
        replaced: names in `staging` of the files whose destinations existed before.

    Returns:
        whether no file is published any more.
    """
    backend = backend_of(staging)
    is_complete = True
    for name, path in moves.items():
        try:
            if _is_staged(backend, staging, name, moves):
                continue
            if name in replaced or not backend.exists(path):
                is_complete = False
            else:
                backend.move(path, staging / name)
        except OSError:
            is_complete = False
        except UnreachableError:  # after retries
            return False
    return is_complete


def has_unpublished(staging: Path, moves: Mapping[str, Path]) -> bool | None:
    """Return whether any file is still in the staging folder; None if that cannot be checked."""
    backend = backend_of(staging)
    try:
        return any(_is_staged(backend, staging, name, moves) for name in moves)
    except (OSError, UnreachableError):
        return None


def _is_staged(backend: Backend, staging: Path, name: str, moves: Mapping[str, Path]) -> bool:
    """Return whether a file is in the staging folder, under its own or its final name."""
    names = {name, moves[name].name} if _moves_together(backend, moves) else {name}
    return any(backend.exists(staging / candidate) for candidate in names)


def may_exist(path: Path) -> bool:
    """Return whether a file or folder exists, or cannot be checked."""
    try:
        return backend_of(path).exists(path)
    except (OSError, UnreachableError):
        return True


def discard(staging: Path) -> None:
    """Remove a staging folder with its content; never raises."""
    backend_of(staging).remove_folder(staging)


@contextlib.contextmanager
def _translate_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise write_error(folder, error) from error

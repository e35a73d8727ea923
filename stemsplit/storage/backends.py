"""Runs in the supervisor. File operations for publishing, on local and remote storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from stemsplit.storage import local_files, remote_files
from stemsplit.storage.urls import is_remote

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from pathlib import Path


class Backend(Protocol):
    """One kind of storage. Operations raise `OSError`; remote ones also `UnreachableError`."""

    @property
    def MOVES_FOLDERS(self) -> bool:  # noqa: N802 - a constant of a module
        """Whether `move_folder` can rename a folder."""

    def exists(self, path: Path) -> bool:
        """Return whether a file or folder exists."""

    def fingerprint(self, path: bytes) -> tuple[int, int] | None:
        """Return a file's size and time of change (0 if remote), or None if it does not exist.

        Raises `OSError` only.
        """

    def check_writable(self, staging: Path) -> None:
        """Write to a new staging folder, and remove it."""

    def prepare(self, targets: Iterable[Path]) -> None:
        """Create the folders of `targets`, and raise what is known to prevent a move there."""

    def move(self, source: Path, target: Path) -> None:
        """Move a file within the storage, replacing `target`, unless it was moved before."""

    def move_folder(self, source: Path, target: Path) -> bool:
        """Rename a folder to a missing or empty one; return whether that was done."""

    def fsync_folder(self, folder: Path) -> None:
        """Wait until the names in a folder are durable; never raises."""

    def remove_folder(self, folder: Path) -> None:
        """Remove a folder with its content; never raises."""


def backend_of(path: str | bytes | os.PathLike[str]) -> Backend:
    """Return the backend for a path: a local one, or one that stands for a URL."""
    return remote_files if is_remote(path) else local_files

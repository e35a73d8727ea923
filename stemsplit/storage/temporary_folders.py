"""Runs in the supervisor. Temporary folders that are removed even if their process is killed.

Each folder is locked while its process lives. The next process of the same user removes the folders
of killed processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.core.errors import FREE_TEMPORARY_SPACE, UnwritableError
from stemsplit.core.text import quoted, system_message

if TYPE_CHECKING:
    from collections.abc import Callable

_LOCK = "lock"

_own: set[Path] = set()
"""Folders of this process: POSIX locks do not protect a process from itself."""


class TemporaryFolder:
    """A new folder for temporary files.

    Args:
        prefix: of the folder's name.
        before_removal: called with the folder of a killed process before that is removed.

    Attributes:
        path: the folder.

    Raises:
        UnwritableError: if the folder cannot be created.
    """

    def __init__(
        self, prefix: str, before_removal: Callable[[Path], None] = lambda _folder: None
    ) -> None:
        """Create the folder, and remove those of killed processes with the same prefix."""
        self._lock: int | None = None
        try:
            remove_stale(prefix, before_removal)
            self.path = Path(tempfile.mkdtemp(prefix=prefix))
            try:
                self._lock = lock_folder(self.path)
            except OSError:
                self.remove()
                raise
        except OSError as error:
            raise UnwritableError(
                f"The folder for temporary files cannot be used ({system_message(error)}).",
                FREE_TEMPORARY_SPACE,
            ) from error

    def restore(self) -> bool:
        """Create the folder again if it was removed, for example by a cleaner of old files.

        Returns:
            whether it was missing.

        Raises:
            UnwritableError: if it cannot be created.
        """
        if self.path.exists():
            return False
        try:
            self.path.mkdir(mode=0o700, parents=True)  # fails if another process created it
            self._release()
            self._lock = lock_folder(self.path)
        except OSError as error:
            raise UnwritableError(
                f"The folder for temporary files {quoted(self.path)} was removed and cannot be "
                f"created again ({system_message(error)}).",
                FREE_TEMPORARY_SPACE,
            ) from error
        return True

    def remove(self) -> None:
        """Remove the folder with its content; never raises."""
        self._release()
        shutil.rmtree(self.path, ignore_errors=True)
        _own.discard(self.path)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def lock_folder(folder: Path) -> int | None:
    """Lock a folder of this process.

    Returns:
        the descriptor that holds the lock until it is closed; None on Windows.

    Raises:
        OSError: if the folder cannot be written.
    """
    _own.add(folder)
    if sys.platform == "win32":
        return None
    import fcntl

    # Other processes look for the final name, which the file gets only once it is locked.
    unlocked = folder / f"{_LOCK}.new"
    lock = os.open(unlocked, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with contextlib.suppress(OSError):  # the file system does not support locks
            # A POSIX lock belongs to one process: a fork neither keeps nor releases it.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlocked.rename(folder / _LOCK)
    except OSError:
        os.close(lock)
        raise
    return lock


def is_locked(folder: Path) -> bool:
    """Return whether this process has locked a folder and the lock file still exists."""
    lock_file = folder if sys.platform == "win32" else folder / _LOCK
    return folder in _own and lock_file.exists()


def remove_stale(
    prefix: str, before_removal: Callable[[Path], None] = lambda _folder: None
) -> None:
    """Remove temporary folders that killed processes had locked; see `TemporaryFolder`."""
    if sys.platform == "win32":
        return
    import fcntl

    parent = Path(tempfile.gettempdir())
    for folder in {*parent.glob(f"{prefix}*")} - _own:
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.lstat().st_uid != os.geteuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                before_removal(folder)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)

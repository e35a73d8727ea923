"""Runs in the supervisor. Folders for temporary files that do not stay behind, whatever happens.

Each is locked as long as its process lives. What is left of a process that was killed is removed by
the next one of the same user.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.core.errors import UnwritableError
from stemsplit.core.text import quoted, sentence_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable

_LOCK = "lock"

_own: set[Path] = set()
"""Those of this process, which the system would let it lock twice."""


class TemporaryFolder:
    """A new folder for temporary files.

    Args:
        prefix: of its name.
        before_removal: is told of a folder that a killed process has left, before that is removed.

    Attributes:
        path: of the folder.

    Raises:
        UnwritableError: if it cannot be made.
    """

    def __init__(
        self, prefix: str, before_removal: Callable[[Path], None] = lambda _folder: None
    ) -> None:
        """Make it, and remove those of the same prefix whose processes are gone."""
        self._lock: int | None = None
        try:
            remove_stale(prefix, before_removal)
            self.path = Path(tempfile.mkdtemp(prefix=prefix))
            try:
                self._lock = hold(self.path)
            except OSError:
                self.remove()
                raise
        except OSError as error:
            raise UnwritableError(
                f"The folder for temporary files cannot be used ({sentence_of(error)}).",
                "Make room there, or set TMPDIR to another folder.",
            ) from error

    def restore(self) -> bool:
        """Make it anew if somebody, such as a cleaner of old files, has removed it.

        Returns:
            whether it was gone.

        Raises:
            UnwritableError: if it cannot be made.
        """
        if self.path.exists():
            return False
        try:
            self.path.mkdir(mode=0o700, parents=True)  # fails where somebody else was quicker
            self._release()
            self._lock = hold(self.path)
        except OSError as error:
            raise UnwritableError(
                f"The folder for temporary files {quoted(self.path)} was removed and cannot be "
                f"made again ({sentence_of(error)}).",
                "Make room there, or set TMPDIR to another folder.",
            ) from error
        return True

    def remove(self) -> None:
        """Remove it with all that is in it; never raises."""
        self._release()
        shutil.rmtree(self.path, ignore_errors=True)
        _own.discard(self.path)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def hold(folder: Path) -> int | None:
    """Lock a folder of this process's as long as the descriptor that this returns is open.

    Raises:
        OSError: if nothing can be written there.
    """
    _own.add(folder)
    if fcntl is None:
        return None
    # Nobody finds it by its name before it is locked.
    new = folder / f"{_LOCK}.new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with contextlib.suppress(OSError):  # the file system knows no locks
            # Of the kind that belongs to one process: a copy of it neither keeps nor drops it.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(folder / _LOCK)
    except OSError:
        os.close(lock)
        raise
    return lock


def is_held(folder: Path) -> bool:
    """Return whether this process holds a folder, which nobody has emptied since."""
    marker = folder if sys.platform == "win32" else folder / _LOCK
    return folder in _own and marker.exists()


def remove_stale(
    prefix: str, before_removal: Callable[[Path], None] = lambda _folder: None
) -> None:
    """Remove folders for temporary files that processes held which are gone; see the class."""
    if fcntl is None:
        return
    top = Path(tempfile.gettempdir())
    for folder in {*top.glob(f"{prefix}*")} - _own:
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

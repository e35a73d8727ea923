"""Runs in the supervisor. Folders for temporary files that do not stay behind, whatever happens.

Each is locked as long as its process lives. What is left of a process that was killed is removed by
the next one of the same user.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.errors import UnwritableError
from stemsplit.text import quoted, sentence_of

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
            _remove_stale(Path(tempfile.gettempdir()), prefix, before_removal)
            self.path = Path(tempfile.mkdtemp(prefix=prefix))
            _own.add(self.path)
            try:
                self._hold()
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
            self._hold()
        except OSError as error:
            raise UnwritableError(
                f"The folder for temporary files {quoted(self.path)} was removed and cannot be "
                f"made again ({sentence_of(error)}).",
                "Make room there, or set TMPDIR to another folder.",
            ) from error
        return True

    def remove(self) -> None:
        """Remove it with all that is in it; never raises."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        shutil.rmtree(self.path, ignore_errors=True)
        _own.discard(self.path)

    def _hold(self) -> None:
        if fcntl is None:
            return
        if self._lock is not None:
            os.close(self._lock)
        # Nobody finds it by its name before it is locked.
        new = self.path / f"{_LOCK}.new"
        self._lock = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
        with contextlib.suppress(OSError):  # the file system knows no locks
            # Of the kind that belongs to one process: a copy of it neither keeps nor drops it.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(self.path / _LOCK)


def _remove_stale(top: Path, prefix: str, before_removal: Callable[[Path], None]) -> None:
    if fcntl is None:
        return
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

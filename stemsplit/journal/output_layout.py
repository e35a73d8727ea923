"""Runs in the supervisor. Paths of what stemsplit keeps in an output folder besides stems."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.errors import StemsplitError
from stemsplit.core.text import quoted
from stemsplit.storage.safe_paths import leads_out
from stemsplit.storage.urls import is_remote
from stemsplit.storage.user_folders import user_folder

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

STATE_FOLDER = ".stemsplit"
"""Name of the folder; the dot hides it from users and from `scan`."""


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """Paths of the files that stemsplit keeps for one output folder.

    Attributes:
        output: the folder for all stems, local or remote.
    """

    output: Path

    @property
    def folder(self) -> Path:
        """The folder of all these files; a local one for remote output.

        Raises:
            StemsplitError: if the output is remote and the user has no home folder.
        """
        if is_remote(self.output):
            name = hashlib.sha256(os.fsencode(self.output)).hexdigest()[:16]
            folder = user_folder("state")
            if folder is None:
                raise StemsplitError(
                    "No home folder to store the journal of a remote output in.",
                    "Set HOME, or set XDG_STATE_HOME to a folder.",
                )
            return folder / "outputs" / name
        return self.output / STATE_FOLDER

    def check_entries(self) -> None:
        """Check that no entry of the folder leads elsewhere: somebody else may have created it.

        Raises:
            StemsplitError: if the folder or an entry is a link that points outside the output
                folder, or is neither a file nor a folder.
        """
        if is_remote(self.output):
            return  # it is in the user's own folder
        try:
            names = os.listdir(self.folder)
        except OSError:  # missing, or opening a file reports the same error
            names = []
        for name in ("", *names):
            path = self.folder / name
            try:
                mode = path.lstat().st_mode
            except OSError:  # removed meanwhile
                continue
            if stat.S_ISLNK(mode):
                below = os.path.join(STATE_FOLDER, name)
                if leads_out(os.fsencode(self.output), os.fsencode(below)):
                    fault = f"is a link that leads out of {quoted(self.output)}"
                    raise _foreign_entry(path, fault)
            elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise _foreign_entry(path, "is neither a file nor a folder")

    def make_folder(self) -> None:
        """Create the folder, writable for all who may write to the output folder.

        Raises:
            OSError: if that fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.share_access(self.folder)

    def share_access(self, *paths: Path) -> None:
        """Make paths writable for all who may write to the output folder; never raises."""
        if is_remote(self.output) or os.name == "nt":
            return
        for path in paths:
            with contextlib.suppress(OSError):  # another user's file, already shared
                top, status = self.output.stat(), path.lstat()
                write = 0 if top.st_mode & stat.S_ISVTX else top.st_mode & _OTHERS_WRITE
                if status.st_gid != top.st_gid:  # a different group
                    write &= ~stat.S_IWGRP
                mode = stat.S_IMODE(status.st_mode)
                needed = write | write << 1  # and the right to read
                if path.is_dir():
                    needed |= write >> 1  # and to search
                if mode | needed != mode:
                    path.chmod(mode | needed)

    def write(self, path: Path, content: bytes) -> None:
        """Replace a file atomically, with shared access; raise `OSError` if that fails."""
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with new.open("xb") as file:  # follows no link
            file.write(content)
        self.share_access(new)
        os.replace(new, path)

    @property
    def journal(self) -> Path:
        """The journal (`stemsplit.journal.writer`)."""
        return self.folder / "journal.sqlite3"

    @property
    def lock(self) -> Path:
        """The lock file of the run that may write (`stemsplit.journal.lock`)."""
        return self.folder / "lock"

    @property
    def status(self) -> Path:
        """The status of the current run (`stemsplit.journal.status_file`)."""
        return self.folder / "status.json"

    @property
    def summary(self) -> Path:
        """The result of the last run: its event `batch_done`."""
        return self.folder / "summary.json"

    @property
    def logs(self) -> Path:
        """Logs of attempts that failed."""
        return self.folder / "logs"


def _foreign_entry(path: Path, fault: str) -> StemsplitError:
    return StemsplitError(
        f"{quoted(path)} {fault}; stemsplit did not create it.",
        "Remove it, or choose another folder with -o.",
    )

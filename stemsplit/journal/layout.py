"""Runs in the supervisor. What stemsplit keeps in an output folder besides stems, and where."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.errors import StemsplitError
from stemsplit.core.text import quoted
from stemsplit.storage.remote import is_remote
from stemsplit.storage.untrusted import leads_out
from stemsplit.storage.user_folders import own_folder

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

STATE_FOLDER = ".stemsplit"
"""Its name; the dot hides it from people and from `scan`."""


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """The places of what is kept in one output folder."""

    output: Path

    @property
    def folder(self) -> Path:
        """All of it; for an output that is remote, on this machine."""
        if is_remote(self.output):
            name = hashlib.sha256(os.fsencode(self.output)).hexdigest()[:16]
            own = own_folder("state")
            if own is None:
                raise StemsplitError(
                    "There is no home folder to keep the journal of a remote output in.",
                    "Set HOME, or XDG_STATE_HOME to a folder.",
                )
            return own / "outputs" / name
        return self.output / STATE_FOLDER

    def require_own(self) -> None:
        """Check that nothing in the folder leads elsewhere: it may be a stranger's.

        Raises:
            StemsplitError: if it or an entry is a link that leads out of the output folder, or is
                neither a file nor a folder.
        """
        if is_remote(self.output):
            return  # it lies in this user's own folder
        try:
            names = os.listdir(self.folder)
        except OSError:  # there is none yet, or whoever opens it meets the same error
            names = []
        for name in ("", *names):
            path = self.folder / name
            try:
                mode = path.lstat().st_mode
            except OSError:  # gone meanwhile
                continue
            if stat.S_ISLNK(mode):
                below = os.path.join(STATE_FOLDER, name)
                if leads_out(os.fsencode(self.output), os.fsencode(below)):
                    fault = f"is a link that leads out of {quoted(self.output)}"
                    raise _not_ours(path, fault)
            elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise _not_ours(path, "is neither a file nor a folder")

    def make(self) -> None:
        """Make the folder, which whoever may write to the output folder may write to as well.

        Raises:
            OSError: if that fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.share(self.folder)

    def share(self, *paths: Path) -> None:
        """Let whoever may write to the output folder write to these; never raises."""
        if is_remote(self.output) or os.name == "nt":
            return
        for path in paths:
            with contextlib.suppress(OSError):  # a colleague's, who has done it
                top, status = self.output.stat(), path.lstat()
                asked = 0 if top.st_mode & stat.S_ISVTX else top.st_mode & _OTHERS_WRITE
                if status.st_gid != top.st_gid:  # the group would be another one
                    asked &= ~stat.S_IWGRP
                mode = stat.S_IMODE(status.st_mode)
                needed = asked | asked << 1  # what may be written may be read
                if path.is_dir():
                    needed |= asked >> 1  # and gone into
                if mode | needed != mode:
                    path.chmod(mode | needed)

    def write(self, path: Path, content: bytes) -> None:
        """Replace one of the small files in one step, shared as the others; raises `OSError`."""
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with new.open("xb") as file:  # never through a link that somebody has put there
            file.write(content)
        self.share(new)
        os.replace(new, path)

    @property
    def journal(self) -> Path:
        """What was asked, tried and done (`stemsplit.journal.writer`)."""
        return self.folder / "journal.sqlite3"

    @property
    def lock(self) -> Path:
        """Held by the one run that may write (`stemsplit.journal.lock`)."""
        return self.folder / "lock"

    @property
    def status(self) -> Path:
        """What goes on at this moment (`stemsplit.journal.status_file`)."""
        return self.folder / "status.json"

    @property
    def summary(self) -> Path:
        """How the last run went: its event `batch_done`."""
        return self.folder / "summary.json"

    @property
    def logs(self) -> Path:
        """Logs of attempts that failed."""
        return self.folder / "logs"


def _not_ours(path: Path, fault: str) -> StemsplitError:
    return StemsplitError(
        f"{quoted(path)} {fault}; stemsplit did not make it.",
        "Remove it, or name another folder with -o.",
    )

"""Runs in the supervisor. What stemsplit keeps in an output folder besides stems, and where."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import platformdirs

from stemsplit.remote import is_remote

if TYPE_CHECKING:
    from pathlib import Path

STATE_FOLDER = ".stemsplit"
"""Its name; the dot hides it from people and from `scan`."""


@dataclass(frozen=True, slots=True)
class State:
    """The places of what is kept in one output folder."""

    output: Path

    @property
    def folder(self) -> Path:
        """All of it; for an output that is remote, on this machine."""
        if is_remote(self.output):
            name = hashlib.sha256(os.fsencode(self.output)).hexdigest()[:16]
            return platformdirs.user_state_path("stemsplit", appauthor=False) / "outputs" / name
        return self.output / STATE_FOLDER

    @property
    def journal(self) -> Path:
        """What was asked, tried and done (`stemsplit.library.journal`)."""
        return self.folder / "journal.sqlite3"

    @property
    def lock(self) -> Path:
        """Held by the one run that may write (`stemsplit.library.lock`)."""
        return self.folder / "lock"

    @property
    def status(self) -> Path:
        """What goes on at this moment (`stemsplit.library.board`)."""
        return self.folder / "status.json"

    @property
    def summary(self) -> Path:
        """How the last run went: its event `batch_done`."""
        return self.folder / "summary.json"

    @property
    def logs(self) -> Path:
        """Logs of attempts that failed."""
        return self.folder / "logs"

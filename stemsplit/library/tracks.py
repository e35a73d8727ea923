"""Runs in the supervisor. What an input leads to: a track, or a problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.errors import StemsplitError
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.storage.remote_files import FileStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """An input file.

    Attributes:
        path: the file.
        folder: the file's folder below the input through which it was found; `.` if the file is the
            input.
        remote_status: metadata of a remote file; None for a local file.
    """

    path: Path
    folder: Path
    remote_status: FileStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An input that leads to no track.

    Attributes:
        path: the input.
        message: the reason, in one sentence.
        remedy: what the user can do.
    """

    path: Path
    message: str
    remedy: str


def unreadable(path: Path, error: OSError | ValueError | StemsplitError) -> Problem:
    """Return the problem of an input that cannot be read."""
    if isinstance(error, StemsplitError):
        return Problem(path=path, message=error.message, remedy=error.remedy)
    return Problem(
        path=path,
        message=f"{quoted(path)} cannot be read ({getattr(error, 'strerror', None) or error}).",
        remedy="Check the path and its permissions.",
    )

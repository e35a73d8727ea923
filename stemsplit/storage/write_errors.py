"""Runs in the supervisor. Translates a failed write to a folder into an error for users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.core.errors import (
    FREE_DISK_SPACE,
    DiskFullError,
    UnwritableError,
    is_disk_full,
)
from stemsplit.core.text import quoted, system_message

if TYPE_CHECKING:
    from pathlib import Path


def write_error(folder: Path, error: OSError) -> UnwritableError | DiskFullError:
    """Return the error for a write to `folder` that failed with `error`."""
    if is_disk_full(error):
        return DiskFullError(
            f"The disk of {quoted(folder)} is full.",
            FREE_DISK_SPACE,
        )
    if isinstance(error, NotADirectoryError | FileExistsError):
        return UnwritableError(
            f"{quoted(folder)} cannot be written: a file exists where a folder is needed.",
            "Choose another folder with -o.",
        )
    return UnwritableError(
        f"{quoted(folder)} cannot be written ({system_message(error)}).",
        "Check its permissions, or choose another folder with -o.",
    )

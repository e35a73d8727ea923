"""Runs in both. Errors for users: a message, a remedy and an exit code.

How a child process ended is a `stemsplit.core.outcome.Reason`, not an error.
"""

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the `stemsplit` command (docs/errors.md)."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    SOME_FAILED = 3
    TIME_IS_UP = 10
    LOCKED = 11
    INTERRUPTED = 130
    TERMINATED = 143


REINSTALL = "Reinstall stemsplit in a fresh virtual environment."
"""Remedy for a damaged installation."""

FREE_DISK_SPACE = (
    "Free disk space, or choose another folder with -o, and run the same command again."
)
"""Remedy for a full disk of the output folder."""

FREE_TEMPORARY_SPACE = "Free disk space there, or set TMPDIR to another folder."
"""Remedy for a full disk for temporary files."""


class StemsplitError(Exception):
    """An error with a remedy.

    Args:
        message: one sentence that names the problem and the value that causes it.
        remedy: one sentence that says what to do next; may be empty.
    """

    exit_code: ExitCode = ExitCode.ERROR

    def __init__(self, message: str, remedy: str = "") -> None:
        """Store both sentences separately, so that each front end can lay them out."""
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()


class UsageError(StemsplitError):
    """Invalid usage: an option, a name, or options that contradict each other."""

    exit_code = ExitCode.USAGE


class BadInputError(StemsplitError):
    """An audio file cannot be separated, and a retry would not help."""


class DamagedError(StemsplitError):
    """An audio file lost more than the tolerated share of its audio."""


class OutputExistsError(StemsplitError):
    """The output exists, and stemsplit did not write it or it has changed since."""


class DiskFullError(StemsplitError):
    """The disk of the output folder is full."""


class UnwritableError(StemsplitError):
    """The output folder is not writable."""


class ModelError(StemsplitError):
    """The files of a model are missing, modified, or cannot be downloaded."""


class EngineError(StemsplitError):
    """The engine cannot be loaded, so no file can be separated."""


class InsufficientMemoryError(StemsplitError):
    """Not even one track fits into the available memory or the memory budget."""


class UnreachableError(StemsplitError):
    """A file on remote storage stays unreachable after several retries."""


class ClusterError(StemsplitError):
    """The cluster is unreachable, or none of its nodes is usable."""


class StoppedError(StemsplitError):
    """The batch was stopped before this track was separated."""


def is_disk_full(error: BaseException) -> bool:
    """Return whether a system error means that the disk or a quota is full."""
    return getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}

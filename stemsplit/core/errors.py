"""Runs in both. Every error that a person can meet: one sentence, what to do, an exit code.

Covers what stemsplit raises on purpose. It does not cover how a child ended: that is a
`stemsplit.core.outcome.Reason`, which the supervisor judges from messages and exit codes.
"""

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """What the `stemsplit` command returns to the shell (docs/errors.md)."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    SOME_FAILED = 3
    TIME_IS_UP = 10
    LOCKED = 11
    INTERRUPTED = 130
    TERMINATED = 143


REINSTALL = "Reinstall stemsplit in a fresh virtual environment."
"""What to do about an installation that is not whole."""


class StemsplitError(Exception):
    """An error with a remedy.

    Args:
        message: one sentence that says what is wrong, with the value that is wrong in it.
        remedy: what a person can do next, or an empty string where the message says it already.
    """

    exit_code: ExitCode = ExitCode.ERROR

    def __init__(self, message: str, remedy: str = "") -> None:
        """Keep the two sentences apart, so that each front end can lay them out its own way."""
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Give the message and the remedy on one line."""
        return f"{self.message} {self.remedy}".rstrip()


class UsageError(StemsplitError):
    """The command or call was asked for something that cannot be: an option, a name, a clash."""

    exit_code = ExitCode.USAGE


class BadInputError(StemsplitError):
    """One audio file cannot be separated, and trying again would not help."""


class DamagedError(StemsplitError):
    """More of one audio file is lost than a warning is enough for."""


class OutputExistsError(StemsplitError):
    """A file that stemsplit did not make, or that somebody has changed, would be replaced."""


class DiskFullError(StemsplitError):
    """The disk of the output folder has no room left."""


class UnwritableError(StemsplitError):
    """The output folder cannot be written."""


class ModelError(StemsplitError):
    """A model's files are missing, altered or cannot be fetched."""


class EngineError(StemsplitError):
    """The engine that runs the network cannot be loaded; no file could be separated."""


class InsufficientMemoryError(StemsplitError):
    """Not even one track fits into the memory that there is, or that stemsplit may use."""


class UnreachableError(StemsplitError):
    """A file on remote storage cannot be reached, although it was tried again and again."""


class ClusterError(StemsplitError):
    """The cluster cannot be reached, or none of its nodes can do the work."""


class StoppedError(StemsplitError):
    """The work was asked to stop before it was done, so this track was not separated."""


def says_disk_is_full(error: BaseException) -> bool:
    """Tell whether an error of the system means that a disk or a quota has no room left."""
    return getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}

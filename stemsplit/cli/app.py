"""Runs in the supervisor. The commands of `stemsplit`, their error messages and exit codes."""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter, UnusedCliTokensError

from stemsplit.cli import settings
from stemsplit.cli.help import HelpFormatter
from stemsplit.cli.overview import (
    COMMANDS,
    DESCRIPTION,
    EPILOGUE,
    HELP_ALL,
    HELP_FLAGS,
    VERSION_FLAG,
)
from stemsplit.cli.signals import StoppedBySignalError, raise_on_signals
from stemsplit.core.errors import EngineError, ExitCode, StemsplitError, UsageError
from stemsplit.core.text import printable, quoted, system_message
from stemsplit.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

app = App(
    name="stemsplit",
    help=DESCRIPTION,
    help_epilogue=EPILOGUE,
    help_flags=[*HELP_FLAGS, HELP_ALL],
    help_format="plaintext",
    help_formatter=HelpFormatter(everything=False),
    version=__version__,
    version_flags=[VERSION_FLAG],
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)
for _name, _command in COMMANDS.items():
    if _name == "models":
        app.command(_command.target, name=_name)  # an `App` has an epilogue of its own
    else:
        app.command(_command.target, name=_name, help_epilogue=_command.epilogue)


_WANTED_OPEN_FILES = 4096

_SHORTAGES = {
    errno.EMFILE: ("This process has too many open files", "Raise the limit: `ulimit -n 1024`."),
    errno.ENFILE: ("This machine has too many open files", "Close other programs."),
    errno.EAGAIN: (
        "No process or thread can be started",
        "Close other programs, or raise the limit: `ulimit -u 4096`.",
    ),
    errno.ENOMEM: ("This process cannot get more memory", "Close other programs."),
    errno.ENOSPC: ("A disk is full", "Free some space, or set TMPDIR to a folder on another disk."),
}
"""Message and remedy by errno, for resources that any system call may exhaust."""


def run_command(tokens: Sequence[str]) -> int:
    """Run a command, print its error if it fails, and return the exit code.

    Args:
        tokens: the arguments of the program.
    """
    _raise_open_file_limit()
    raise_on_signals()
    applied = settings.SettingsConfig()
    app.config = (applied,)
    app.help_formatter = HelpFormatter(everything=HELP_ALL in tokens)
    try:
        _require_current_folder()
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except (Exception, KeyboardInterrupt, StoppedBySignalError) as error:  # noqa: BLE001 - the user gets a sentence
        verbose, _ = applied.values.get("verbose", (False, ""))
        if isinstance(error, Exception) and (verbose or {"--verbose", "-v"} & set(tokens)):
            traceback.print_exc()
        message, remedy, exit_code = _explain(error, list(tokens[:1]))
        may_be_a_setting = exit_code == ExitCode.USAGE or isinstance(error, EngineError)
        sources = applied.summary() if may_be_a_setting else ""
        line = " ".join(f"stemsplit: {message} {remedy} {sources}".split())
        print(printable(line), file=sys.stderr)
        return exit_code
    return int(code or 0)


def _raise_open_file_limit() -> None:
    """Raise the soft limit of open files to `_WANTED_OPEN_FILES`, or to the hard limit if lower."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _require_current_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise UsageError(
            f"The current folder cannot be used ({system_message(error)}).",
            "Change to another folder with `cd`.",
        ) from error


def _explain(error: BaseException, command: list[str]) -> tuple[str, str, int]:
    """Return the message, the remedy and the exit code of an error."""
    kept = "finished tracks are kept, and there are no partial files."
    match error:
        case CycloptsError():
            return (*_explain_usage(error, command), ExitCode.USAGE)
        case StemsplitError():
            return error.message, error.remedy, error.exit_code
        case KeyboardInterrupt():
            return f"Interrupted; {kept}", "", ExitCode.INTERRUPTED
        case OSError(errno=number) if number in _SHORTAGES:
            what, remedy = _SHORTAGES[number]
            return f"{what} ({system_message(error)}).", remedy, ExitCode.ERROR
        case StoppedBySignalError():
            return f"Stopped; {kept}", "", error.exit_code
    return (
        f"Unexpected error ({type(error).__name__}: {error}).",
        "Finished tracks are kept. Run the command again with --verbose, and report the error.",
        ExitCode.ERROR,
    )


def _explain_usage(error: CycloptsError, command: list[str]) -> tuple[str, str]:
    """Return the message and the remedy of an invalid command line."""
    name = f"{command[0]} " if set(command) & set(app) else ""
    see_help = f"Try `stemsplit {name}--help`."
    match error:
        case MissingArgumentError(argument=argument) if argument and argument.name == "--output":
            return "No output folder given.", "Add -o FOLDER."
        case UnusedCliTokensError(unused_tokens=tokens):
            return f"Unexpected argument {quoted(' '.join(tokens or ()))}.", see_help
    return str(error), see_help

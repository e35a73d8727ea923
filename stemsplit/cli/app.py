"""Runs in the supervisor. The `stemsplit` command: its commands, its errors, its exit codes."""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import (
    App,
    CycloptsError,
    MissingArgumentError,
    Parameter,
    UnusedCliTokensError,
)

from stemsplit.cli import settings, standard_streams
from stemsplit.cli.commands import config, doctor, models
from stemsplit.cli.commands.convert import convert
from stemsplit.cli.commands.demo import demo
from stemsplit.cli.commands.inspect import inspect
from stemsplit.cli.commands.report import report
from stemsplit.cli.commands.separate import separate
from stemsplit.cli.commands.status import status
from stemsplit.cli.help import HELP_ALL, HELP_FLAGS, Help
from stemsplit.cli.signals import StoppedBySignalError, stop_on_signals
from stemsplit.core.errors import EngineError, ExitCode, StemsplitError, UsageError
from stemsplit.core.text import printable, quoted, sentence_of
from stemsplit.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

_SEPARATE = """\
Examples:
  stemsplit separate song.mp3 -o stems
  stemsplit separate ~/Music -o stems --format flac --max-ram 2GiB --until 07:00
  stemsplit separate ~/Music -o stems --stems vocals --residual --dry-run
`stemsplit separate --help-all` shows every option, in more words."""

_CONVERT = """\
Examples:
  stemsplit convert master.wav -o cd --sample-rate 44.1k --bit-depth 16
  stemsplit convert ~/Music -o phone --format opus
`stemsplit convert --help-all` shows every option, in more words."""

_ALL = """\
Begin with `stemsplit demo`, or with `stemsplit separate song.mp3 -o stems`.
Exit codes: 0 all done, 1 error, 2 usage, 3 some files failed, 10 time is up, 11 another run is at \
it, 130 Ctrl-C, 143 SIGTERM."""

app = App(
    name="stemsplit",
    help="Split songs into stems with Spleeter: one short-lived process a song, flat memory, "
    "nothing half-written.",
    help_epilogue=_ALL,
    help_flags=[*HELP_FLAGS, HELP_ALL],
    help_format="plaintext",
    help_formatter=Help(everything=False),
    version=__version__,
    version_flags=["--version"],
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)
app.command(separate, help_epilogue=_SEPARATE)
app.command(convert, help_epilogue=_CONVERT)
app.command(status, help_epilogue="")
app.command(report, help_epilogue="")
app.command(inspect, help_epilogue="")
app.command(models.app)
doctor.add_to(app)
app.command(demo, help_epilogue="")
config.add_to(app)


_WANTED_FILES = 4096

_SHORTAGES = {
    errno.EMFILE: ("Too many files are open in this process", "Allow more: `ulimit -n 1024`."),
    errno.ENFILE: ("Too many files are open on this machine", "End other programs."),
    errno.EAGAIN: (
        "No further process or thread can be started",
        "End other programs, or allow more: `ulimit -u 4096`.",
    ),
    errno.ENOMEM: ("The system gives this process no more memory", "End other programs."),
    errno.ENOSPC: ("A disk is full", "Make room, or set TMPDIR to a folder on another disk."),
}
"""What the machine may lack anywhere: what that is, and what to do."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; those of this process if None.

    Returns:
        the exit code.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    standard_streams.prepare()
    _allow_many_files()
    stop_on_signals()
    applied = settings.Applied()
    app.config = (applied,)
    app.help_formatter = Help(everything=HELP_ALL in tokens)
    try:
        _require_current_folder()
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except (Exception, KeyboardInterrupt, StoppedBySignalError) as error:  # noqa: BLE001 - a person gets a sentence
        verbose, _ = applied.values.get("verbose", (False, ""))
        if isinstance(error, Exception) and (verbose or {"--verbose", "-v"} & set(tokens)):
            traceback.print_exc()
        message, remedy, failed = _account(error, tokens[:1])
        set_elsewhere = failed == ExitCode.USAGE or isinstance(error, EngineError)
        also = applied.account() if set_elsewhere else ""
        told = " ".join(f"stemsplit: {message} {remedy} {also}".split())
        print(printable(told), file=sys.stderr)
        return failed
    sys.stdout.flush()
    fault = standard_streams.lost.get("stdout")
    if fault is not None and tokens[:1] not in (["separate"], ["convert"]):
        if not isinstance(fault, BrokenPipeError):  # as by `stemsplit ... | head`
            why = sentence_of(fault)
            print(f"stemsplit: Standard output cannot be written ({why}).", file=sys.stderr)
        return ExitCode.ERROR
    return int(code or 0)


def _allow_many_files() -> None:
    """Raise the number of files that this process may open, as far as it may do so."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _require_current_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise UsageError(
            f"The current folder cannot be used ({sentence_of(error)}).",
            "Change to another one: `cd`.",
        ) from error


def _account(error: BaseException, command: list[str]) -> tuple[str, str, int]:
    """Give what is wrong, what to do, and the exit code."""
    kept = "finished tracks are kept and nothing is half-written."
    match error:
        case CycloptsError():
            return (*_misunderstood(error, command), ExitCode.USAGE)
        case StemsplitError():
            return error.message, error.remedy, error.exit_code
        case KeyboardInterrupt():
            return f"Interrupted; {kept}", "", ExitCode.INTERRUPTED
        case OSError(errno=number) if number in _SHORTAGES:
            what, remedy = _SHORTAGES[number]
            return f"{what} ({sentence_of(error)}).", remedy, ExitCode.ERROR
        case StoppedBySignalError():
            return f"Stopped; {kept}", "", error.exit_code
    return (
        f"Something unforeseen happened ({type(error).__name__}: {error}).",
        "Finished tracks are kept. Run it again with --verbose, and report this.",
        ExitCode.ERROR,
    )


def _misunderstood(error: CycloptsError, command: list[str]) -> tuple[str, str]:
    """Give what is wrong with a command line, and what to do."""
    name = f"{command[0]} " if set(command) & set(app) else ""
    see_help = f"Try `stemsplit {name}--help`."
    match error:
        case MissingArgumentError(argument=argument) if argument and argument.name == "--output":
            return "No folder is named for what is made.", "Name one with --output or -o."
        case UnusedCliTokensError(unused_tokens=tokens):
            return f"{quoted(' '.join(tokens or ()))} is too much here.", see_help
    return str(error), see_help

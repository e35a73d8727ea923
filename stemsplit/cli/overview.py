"""Runs in the supervisor. The list of commands, and what is printed without running one of them.

These answers must come at once: a shell runs `stemsplit completion SHELL` whenever it starts.
"""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from stemsplit.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DESCRIPTION = (
    "Split songs into stems with Spleeter: one short-lived process per song, flat memory, no "
    "partial files."
)

EPILOGUE = """\
Start with `stemsplit demo`, or with `stemsplit separate song.mp3 -o stems`.
Exit codes: 0 all done, 1 error, 2 usage error, 3 some files failed, 10 time is up, 11 folder in \
use by another run, 130 Ctrl-C, 143 SIGTERM."""

HELP_FLAGS = ("--help", "-h")
HELP_ALL = "--help-all"
VERSION_FLAG = "--version"


class Command(NamedTuple):
    """A command of the program.

    Attributes:
        target: `module:object` that cyclopts imports when the command is used.
        summary: the first sentence of its help.
        epilogue: examples for its help.
    """

    target: str
    summary: str
    epilogue: str = ""


_SEPARATE = """\
Examples:
  stemsplit separate song.mp3 -o stems
  stemsplit separate ~/Music -o stems --format flac --max-ram 2GiB --until 07:00
  stemsplit separate ~/Music -o stems --stems vocals --residual --dry-run
`stemsplit separate --help-all` shows all options in detail."""

_CONVERT = """\
Examples:
  stemsplit convert master.wav -o cd --sample-rate 44.1k --bit-depth 16
  stemsplit convert ~/Music -o phone --format opus
`stemsplit convert --help-all` shows all options in detail."""

COMMANDS = {
    "separate": Command(
        "stemsplit.cli.commands.separate:separate", "Separate audio files into stems.", _SEPARATE
    ),
    "convert": Command(
        "stemsplit.cli.commands.convert:convert",
        "Convert sample rate, bit depth and format, without separation.",
        _CONVERT,
    ),
    "status": Command(
        "stemsplit.cli.commands.status:status",
        "Show the progress of a running batch, or how the last one ended.",
    ),
    "report": Command(
        "stemsplit.cli.commands.report:report", "Show every track, run and failure in a folder."
    ),
    "inspect": Command(
        "stemsplit.cli.commands.inspect:inspect",
        "Show a file's sample rate, bit depth, levels and loudness.",
    ),
    "models": Command(
        "stemsplit.cli.commands.models:app", "List, download, import, verify and remove models."
    ),
    "doctor": Command(
        "stemsplit.cli.commands.doctor:doctor",
        "Check this installation and this machine, and suggest fixes.",
    ),
    "demo": Command(
        "stemsplit.cli.commands.demo:demo",
        "Generate a 20-second song, separate it, and score the stems.",
    ),
    "config": Command(
        "stemsplit.cli.commands.config:config", "Show every setting with its value and origin."
    ),
    "completion": Command(
        "stemsplit.cli.commands.completion:completion",
        "Print a shell completion script for commands, options and models.",
    ),
}

Shell = Literal["bash", "zsh", "fish"]

SCRIPTS = Path(__file__).with_name("completion_scripts")
"""Folder of the completion scripts, which `docs/generate.py` writes: `stemsplit.bash` and so on."""


def answer(arguments: Sequence[str]) -> str | None:
    """Return what the program prints for `arguments`; None if a command must run."""
    match list(arguments):
        case [flag] if flag == VERSION_FLAG:
            return __version__
        case []:
            return _overview(shutil.get_terminal_size().columns)
        case [flag] if flag in (*HELP_FLAGS, HELP_ALL):
            return _overview(shutil.get_terminal_size().columns)
        case ["completion", shell] if shell in get_args(Shell):
            return script(shell)
    return None


def script(shell: str) -> str:
    """Return the completion script of a `Shell`."""
    return (SCRIPTS / f"stemsplit.{shell}").read_text(encoding="utf-8").rstrip("\n")


def _overview(columns: int) -> str:
    return "\n".join(_lines(columns))


def _lines(columns: int) -> Iterator[str]:
    yield "Usage: stemsplit COMMAND"
    yield from textwrap.wrap(DESCRIPTION, columns)
    yield ""
    yield "Commands:"
    width = max(map(len, COMMANDS)) + 2
    rows = {name: command.summary for name, command in COMMANDS.items()}
    for name, summary in {**rows, VERSION_FLAG: "Show the version."}.items():
        yield from textwrap.wrap(
            summary,
            columns,
            initial_indent=f"  {name:{width}}",
            subsequent_indent=" " * (width + 2),
        )
    yield ""
    yield "`stemsplit COMMAND --help` shows the options of a command."
    for line in EPILOGUE.splitlines():
        yield from textwrap.wrap(line, columns)

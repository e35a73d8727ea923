"""Runs in the supervisor. Runs the command line, and prints overview and scripts without delay.

The library that parses options is imported only if a command is run, and so is that command.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from stemsplit.cli import overview, standard_streams

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def prepare(arguments: Sequence[str] | None = None) -> Callable[[], int]:
    """Import what the command line needs.

    Args:
        arguments: without the program's name; None for those of this process.

    Returns:
        a function that runs the command line and returns the exit code.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    standard_streams.prepare()
    answer = overview.answer(tokens)
    if answer is not None:
        return lambda: _print(answer, tokens)
    from stemsplit.cli.app import run_command

    if tokens and tokens[0] in overview.COMMANDS:
        import_module(overview.COMMANDS[tokens[0]].target.partition(":")[0])
    return lambda: _with_stdout_error(run_command(tokens), tokens)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see `prepare`."""
    return prepare(arguments)()


def _print(answer: str, tokens: list[str]) -> int:
    print(answer)
    return _with_stdout_error(0, tokens)


def _with_stdout_error(code: int, tokens: list[str]) -> int:
    """Report that standard output could not be written, and return the exit code."""
    sys.stdout.flush()
    error = standard_streams.errors.get("stdout")
    if error is None or tokens[:1] in (["separate"], ["convert"]):
        return code
    if not isinstance(error, BrokenPipeError):  # as in `stemsplit ... | head`
        from stemsplit.core.text import system_message

        why = system_message(error)
        print(f"stemsplit: Standard output cannot be written ({why}).", file=sys.stderr)
    return code or 1  # `ExitCode.ERROR`

"""Runs in the supervisor. Runs the command line, and prints overview and scripts without delay.

The commands and the library that parses their options are imported only if a command is run.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from stemsplit.cli import overview, standard_streams

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None for those of this process.

    Returns:
        the exit code.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    standard_streams.prepare()
    answer = overview.answer(tokens)
    if answer is None:
        from stemsplit.cli.app import run_command

        code = run_command(tokens)
    else:
        print(answer)
        code = 0
    sys.stdout.flush()
    error = standard_streams.errors.get("stdout")
    if error is None or code or tokens[:1] in (["separate"], ["convert"]):
        return code
    if not isinstance(error, BrokenPipeError):  # as in `stemsplit ... | head`
        from stemsplit.core.text import system_message

        why = system_message(error)
        print(f"stemsplit: Standard output cannot be written ({why}).", file=sys.stderr)
    return 1  # `ExitCode.ERROR`

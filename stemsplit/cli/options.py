"""Runs in the supervisor. The options that commands share: in which group the help has them.

What is in `EVERYDAY` is all that `--help` shows of the long commands; `--help-all` shows the rest.
"""

from __future__ import annotations

from cyclopts import Group, Parameter

from stemsplit.models.catalogue import MODELS

GROUPS = ("Files", "Model and sound", "Memory and speed", "Time", "What is done again", "Display")

FILES, SOUND, SPEED, NIGHT, AGAIN, SHOWN = (
    Parameter(group=Group.create_ordered(name)) for name in GROUPS
)

EVERYDAY = frozenset(
    {
        "--output",
        "--from-file",
        "--name",
        "--model",
        "--stems",
        "--residual",
        "--format",
        "--bit-depth",
        "--sample-rate",
        "--jobs",
        "--max-ram",
        "--timeout",
        "--until",
        "--overwrite",
        "--retry-failed",
        "--dry-run",
        "--json",
        "--quiet",
        "--verbose",
    }
)


def _models(_context: object) -> list[str]:
    return list(MODELS)


MODEL = Parameter(name=["--model", "-m"], completer=_models, metavar="MODEL")
"""The option, which a shell completes with the names of the catalogue."""


def value(metavar: str, *names: str, show_choices: bool = True) -> Parameter:
    """Say what the value of an option is called, and its names where it has a short one."""
    return Parameter(metavar=metavar, name=names or None, show_choices=show_choices)

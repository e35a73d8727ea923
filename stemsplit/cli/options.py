"""Runs in the supervisor. The options that commands share: in which group the help has them.

What is in `EVERYDAY` is all that `--help` shows of the long commands; `--help-all` shows the rest.
"""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from stemsplit.core.limits import Order
from stemsplit.core.settings import AUTOMATIC, LOADERS, BitDepth, Clip, StemFormat
from stemsplit.models.catalogue import MODELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GROUPS = (
    "Files",
    "Model and sound",
    "Memory and speed",
    "Time",
    "More than one machine",
    "What is done again",
    "Display",
)

FILES, SOUND, SPEED, NIGHT, CLUSTER, AGAIN, SHOWN = (
    Parameter(group=Group.create_ordered(name)) for name in GROUPS
)

EVERYDAY = frozenset(
    {
        "--output",
        "--from-file",
        "--exclude",
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
        "--accept-damaged",
        "--dry-run",
        "--json",
        "--quiet",
        "--verbose",
    }
)


def parameter(**how: Any) -> Parameter:  # noqa: ANN401 - as many types as cyclopts takes
    """Make a parameter; without its look where cyclopts is version 4, as with Python 3.10."""
    known = signature(Parameter).parameters
    lacking = {"metavar", "completer"} - set(known)
    return Parameter(**{name: value for name, value in how.items() if name not in lacking})


def _one_of(names: Iterable[str]) -> Callable[[object], list[str]]:
    """Complete a value with names, in a shell."""
    fixed = list(names)
    return lambda _context: fixed


MODEL = parameter(name=["--model", "-m"], completer=_one_of(MODELS), metavar="MODEL")
ENGINE = parameter(completer=_one_of((AUTOMATIC, *LOADERS)), metavar="ENGINE")
"""Options whose values a shell completes."""


def value(metavar: str, *names: str, show_choices: bool = True) -> Parameter:
    """Say what the value of an option is called, and its names where it has a short one."""
    return parameter(metavar=metavar, name=names or None, show_choices=show_choices)


PATH_MAP = parameter(metavar="HERE=THERE", negative=(), consume_multiple=False)
EXCLUDE = parameter(metavar="PATTERN", negative=(), consume_multiple=False)
"""The options that may be repeated."""

Inputs = Annotated[list[str] | None, Parameter(negative=())]
Output = Annotated[str, FILES, value("FOLDER", "--output", "-o")]
Exclude = Annotated[list[str] | None, FILES, EXCLUDE]
Limit = Annotated[int | None, FILES, value("N")]
FromFile = Annotated[str | None, FILES, value("FILE"), Parameter(allow_leading_hyphen=True)]
Name = Annotated[str, FILES, value("TEMPLATE")]
Format = Annotated[StemFormat, SOUND, value("FORMAT", "--format", "-f")]
Bits = Annotated[BitDepth | None, SOUND, value("BITS")]
SampleRate = Annotated[str, SOUND, value("HZ")]
BitRate = Annotated[str | None, SOUND, value("RATE", "--bitrate", "-b")]
Clipping = Annotated[Clip | None, SOUND, value("WAY")]
Tags = Annotated[bool, SOUND, Parameter(negative="--no-tags")]
AudioTrack = Annotated[str | None, SOUND, value("N|LANGUAGE")]
AcceptDamaged = Annotated[bool, AGAIN]
Start = Annotated[str | None, SOUND, value("TIME", "--start", "-s")]
Duration = Annotated[str | None, SOUND, value("TIME", "--duration", "-d")]
Jobs = Annotated[int | Literal["auto"], SPEED, value("N", "--jobs", "-j", show_choices=False)]
OrderOfWork = Annotated[Order, NIGHT, value("ORDER")]
DryRun = Annotated[bool, AGAIN, Parameter(name=["--dry-run", "-n"])]
Quiet = Annotated[bool, SHOWN, Parameter(name=["--quiet", "-q"])]
Verbose = Annotated[bool, SHOWN, Parameter(name=["--verbose", "-v"])]
"""What `separate` and `convert` have both; each says in its own words what it means."""

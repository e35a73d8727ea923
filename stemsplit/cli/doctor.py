"""Runs in the supervisor. `stemsplit doctor`."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.text import Text

from stemsplit.cli.screen import can_draw
from stemsplit.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.doctor import Check

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(*, json: bool = False) -> int:
    """Check this installation and this machine, and say what to do where something is wrong.

    Looks at Python, packages, models with their checksums, memory and processors, disk, terminal,
    the start of children, keeping awake, and separates two seconds for real.

    Parameters
    ----------
    json:
        Print one JSON object.
    """
    from stemsplit.doctor import State, examine

    console = Console(highlight=False, emoji=False)
    checks: list[Check] = []
    for check in itertools.chain(_terminal(), examine()):
        checks.append(check)
        if not json:
            _print(console, check)
    healthy = all(check.state is not State.FAILED for check in checks)
    if json:
        told = msgspec.json.encode({"healthy": healthy, "checks": checks})
        sys.stdout.buffer.write(told + b"\n")
    else:
        warnings = sum(check.state is State.WARNING for check in checks)
        console.print(_verdict(sum(check.state is State.FAILED for check in checks), warnings))
    return ExitCode.DONE if healthy else ExitCode.ERROR


def _print(console: Console, check: Check) -> None:
    line = Text.assemble((f"{check.state:8}", _STYLES[check.state]), f"{check.name}: {check.found}")
    console.print(line, soft_wrap=True)
    if check.remedy:
        console.print(Text(f"        {check.remedy}"), soft_wrap=True)


def _verdict(failed: int, warnings: int) -> str:
    if failed:
        return f"{failed} of these must be mended first."
    also = "" if not warnings else f" {warnings} of these may be worth a look."
    return f"All that is needed is there.{also}"


def _terminal() -> Iterator[Check]:
    from stemsplit.doctor import Check, State

    console = Console(stderr=True)
    encoding = console.encoding
    if can_draw(console):
        colours = console.color_system or "no"
        found = f"{console.width} columns, {colours} colours, {encoding}: bars are drawn"
    else:
        found = f"no terminal that can move its cursor, {encoding}: plain lines once a minute"
    if encoding.lower().replace("-", "").startswith("utf"):
        yield Check(name="terminal", found=found)
    else:
        yield Check(
            name="terminal",
            state=State.WARNING,
            found=found,
            remedy="Names are shown with escapes; set the locale to one with UTF-8, as "
            "LANG=C.UTF-8.",
        )

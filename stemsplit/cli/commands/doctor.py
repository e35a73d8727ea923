"""Runs in the supervisor. `stemsplit doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.text import Text

from stemsplit.cli import settings
from stemsplit.cli.display.bars import can_draw
from stemsplit.cli.display.event_output import print_json
from stemsplit.core.errors import ExitCode, StemsplitError, UsageError
from stemsplit.core.limits import Limits
from stemsplit.core.settings import Settings
from stemsplit.storage.remote import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cyclopts import App

    from stemsplit.api.doctor import Check, Plans

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def add_to(app: App) -> None:
    """Register the command, which asks the program's own settings."""

    def doctor(*, json: bool = False) -> int:
        """Check this installation and this machine, and say what to do where something is wrong.

        Looks at settings, Python, packages, engines, models with their checksums, memory and
        processors, disk, terminal, the start of children, keeping awake, and separates two seconds
        for real.

        Parameters
        ----------
        json:
            Print one JSON object.
        """
        from stemsplit.api.doctor import State

        console = Console(highlight=False, emoji=False)
        checks: list[Check] = []
        for check in _checks(app):
            checks.append(check)
            if not json:
                _print(console, check)
        healthy = all(check.state is not State.FAILED for check in checks)
        if json:
            print_json({"version": 1, "healthy": healthy, "checks": checks})
        else:
            console.print(_diagnosis(checks))
        return ExitCode.DONE if healthy else ExitCode.ERROR

    app.command(doctor, help_epilogue="")


def _checks(app: App) -> Iterator[Check]:
    from stemsplit.api.doctor import Check, Plans, State, examine

    yield from _terminal()
    plans = Plans()
    try:
        values = {one.option: one for one in settings.settings(app, "separate")}
        plans = _plans({option: one.value for option, one in values.items()})
    except StemsplitError as error:
        yield Check(name="settings", state=State.FAILED, found=error.message, remedy=error.remedy)
    else:
        origins = {one.origin for one in values.values()} - {"default"}
        yield Check(
            name="settings", found=", ".join(sorted(origins)) or "nothing is set but by the program"
        )
    yield from examine(plans)


def _plans(values: Mapping[str, settings.Value | None]) -> Plans:
    """Read those settings that the checks depend on."""
    from stemsplit.api.doctor import Plans
    from stemsplit.models.check_settings import checked
    from stemsplit.models.engines import named

    def text(option: str) -> str | None:
        value = values[option]
        return None if value is None else str(value)

    def number(option: str) -> int | None:
        value = text(option)
        return None if value in {None, "auto"} else int(str(value))

    try:
        jobs, threads = number("jobs"), number("threads")
    except ValueError as error:
        raise UsageError("jobs and threads must be numbers or auto.") from error
    limits = Limits.parse(
        max_ram=text("max-ram"),
        max_ram_per_file=text("max-ram-per-file"),
        min_free=text("min-free"),
    )
    output = text("output")
    wanted = Settings(
        model=str(values["model"]),
        threads=threads,
        engine=named(str(values["engine"])),
        mwf=str(values["mwf"]).lower() == "true",
    )
    return Plans(
        # What is tried at the end is a separation by segments, as most are.
        settings=msgspec.structs.replace(checked(wanted, jobs=jobs), mwf=False),
        limits=limits,
        jobs=jobs,
        output=None if output is None else path_of(output).absolute(),
    )


def _print(console: Console, check: Check) -> None:
    line = Text.assemble((f"{check.state:8}", _STYLES[check.state]), f"{check.name}: {check.found}")
    console.print(line, soft_wrap=True)
    if check.remedy:
        console.print(Text(f"        {check.remedy}"), soft_wrap=True)


def _diagnosis(checks: list[Check]) -> str:
    failed = sum(check.state == "failed" for check in checks)
    if failed:
        return f"{failed} of these must be mended first."
    tried = all(check.state == "ok" for check in checks if check.name == "separation")
    whole = "All that is needed is there." if tried else "Nothing is wrong so far; see separation."
    warnings = sum(check.state == "warning" for check in checks)
    return f"{whole} {warnings} of these may be worth a look." if warnings else whole


def _terminal() -> Iterator[Check]:
    from stemsplit.api.doctor import Check, State

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

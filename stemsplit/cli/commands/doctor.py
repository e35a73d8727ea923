"""Runs in the supervisor. `stemsplit doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.text import Text

from stemsplit.cli import settings
from stemsplit.cli.display.bars import can_draw
from stemsplit.cli.display.json_display import print_json
from stemsplit.core.errors import ExitCode, StemsplitError, UsageError
from stemsplit.core.limits import Limits
from stemsplit.core.settings import Settings
from stemsplit.core.text import counted
from stemsplit.storage.urls import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cyclopts import App

    from stemsplit.api.doctor import Check, Plans

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(*, json: bool = False) -> int:
    """Check this installation and this machine, and suggest fixes.

    Checks the terminal, settings, Python, packages, engines, models and their checksums,
    memory, processors, disk, starting child processes and keep-awake, and finally separates two
    seconds of audio.

    Parameters
    ----------
    json:
        Print one JSON object.
    """
    from stemsplit.api.doctor import State
    from stemsplit.cli.app import app

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
        console.print(_summary(checks))
    return ExitCode.DONE if healthy else ExitCode.ERROR


def _checks(app: App) -> Iterator[Check]:
    from stemsplit.api.doctor import Check, Plans, State, examine

    yield from _terminal()
    plans = Plans()
    try:
        options = {
            setting.option: setting for setting in settings.current_settings(app, "separate")
        }
        plans = _plans({option: setting.value for option, setting in options.items()})
    except StemsplitError as error:
        yield Check(name="settings", state=State.FAILED, found=error.message, remedy=error.remedy)
    else:
        origins = {setting.origin for setting in options.values()} - {"default"}
        yield Check(name="settings", found=", ".join(sorted(origins)) or "defaults only")
    yield from examine(plans)


def _plans(values: Mapping[str, settings.Value | None]) -> Plans:
    """Return the settings that the checks depend on."""
    from stemsplit.api.doctor import Plans
    from stemsplit.models.check_settings import check_settings
    from stemsplit.models.engines import check_engine_name

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
    requested = Settings(
        model=str(values["model"]),
        threads=threads,
        engine=check_engine_name(str(values["engine"])),
        mwf=str(values["mwf"]).lower() == "true",
    )
    return Plans(
        # The final check separates by segments, without `mwf`.
        settings=msgspec.structs.replace(check_settings(requested, jobs=jobs), mwf=False),
        limits=limits,
        jobs=jobs,
        output=None if output is None else path_of(output).absolute(),
    )


def _print(console: Console, check: Check) -> None:
    line = Text.assemble((f"{check.state:8}", _STYLES[check.state]), f"{check.name}: {check.found}")
    console.print(line, soft_wrap=True)
    if check.remedy:
        console.print(Text(f"        {check.remedy}"), soft_wrap=True)


def _summary(checks: list[Check]) -> str:
    failed = sum(check.state == "failed" for check in checks)
    if failed:
        return f"Not ready. {counted(failed, 'check')} failed."
    is_tested = all(check.state == "ok" for check in checks if check.name == "separation")
    ready = "Ready." if is_tested else "No errors, but the separation was not tested."
    warnings = sum(check.state == "warning" for check in checks)
    return f"{ready} {counted(warnings, 'warning')}." if warnings else ready


def _terminal() -> Iterator[Check]:
    from stemsplit.api.doctor import Check, State

    console = Console(stderr=True)
    encoding = console.encoding
    if can_draw(console):
        colours = console.color_system or "no"
        found = f"{console.width} columns, {colours} colours, {encoding}; progress bars"
    else:
        found = f"no cursor control, {encoding}; a progress line once a minute"
    if encoding.lower().replace("-", "").startswith("utf"):
        yield Check(name="terminal", found=found)
    else:
        yield Check(
            name="terminal",
            state=State.WARNING,
            found=found,
            remedy="Names are shown with escapes. Use a UTF-8 locale, such as LANG=C.UTF-8.",
        )

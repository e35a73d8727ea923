"""Runs in the supervisor. `stemsplit config`."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stemsplit.cli import settings
from stemsplit.cli.display.json_display import print_json
from stemsplit.core.errors import ExitCode
from stemsplit.core.text import printable


def config(command: settings.HasSettings = "separate", /, *, json: bool = False) -> int:
    """Show every setting with its value and origin.

    In order of precedence: the command line; environment variables such as STEMSPLIT_MAX_RAM;
    stemsplit.toml in the current folder; the user's stemsplit.toml.

    Parameters
    ----------
    command:
        Show the settings of this command.
    json:
        Print one JSON object.
    """
    from stemsplit.cli.app import app

    # Of all commands, so that an error in any table is reported.
    by_command = {name: list(settings.current_settings(app, name)) for name in settings.COMMANDS}
    found = by_command[command]
    unknown = list(settings.unknown_variables(app))
    if json:
        files = [printable(path) for path in settings.files()]
        print_json({"command": command, "files": files, "settings": found})
    else:
        _print(found)
    for text in unknown:
        print(f"stemsplit: {text}", file=sys.stderr)
    return ExitCode.DONE


def _print(found: list[settings.Setting]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("setting", "value", "origin"):
        table.add_column(name, overflow="fold")
    for setting in found:
        value = "" if setting.value is None else printable(settings.format_value(setting.value))
        style = "" if setting.origin == "default" else "bold"
        table.add_row(setting.option, Text(value, style=style), Text(setting.origin, style=style))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for path in settings.files():
        note = "" if path.exists() else " (not found)"
        console.print(Text(f"settings file: {printable(path)}{note}"))

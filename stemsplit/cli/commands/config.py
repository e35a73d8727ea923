"""Runs in the supervisor. `stemsplit config` and `stemsplit completion`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stemsplit.cli import settings
from stemsplit.cli.display.event_output import print_json
from stemsplit.core.errors import ExitCode
from stemsplit.core.text import printable

if TYPE_CHECKING:
    from cyclopts import App

_ALSO = {
    # Where it knows nothing better, bash completes file names, as it did before.
    "bash": "complete -o bashdefault -o default -F _stemsplit stemsplit",
    # The script is made for a folder of `fpath`; `eval` needs it to be said.
    "zsh": "compdef _cyclopts_stemsplit stemsplit",
}

Shell = Literal["bash", "zsh", "fish"]


def add_to(app: App) -> None:
    """Register the commands that look at the program's own commands."""

    def config(command: settings.HasSettings = "separate", /, *, json: bool = False) -> int:
        """Show the value of every setting, and where it comes from.

        The command line wins; then variables such as STEMSPLIT_MAX_RAM; then stemsplit.toml in this
        folder; then the user's own.

        Parameters
        ----------
        command:
            Whose settings.
        json:
            Print one JSON object.
        """
        # Of all commands, so that a fault in any table is told.
        found = {one: list(settings.settings(app, one)) for one in settings.COMMANDS}[command]
        untracked = list(settings.untracked(app))
        if json:
            files = [printable(path) for path in settings.files()]
            print_json({"command": command, "files": files, "settings": found})
        else:
            _print(found)
        for text in untracked:
            print(f"stemsplit: {text}", file=sys.stderr)
        return ExitCode.DONE

    def completion(shell: Shell, /) -> int:
        """Print what makes a shell complete commands, options and models.

        bash, in ~/.bashrc: eval "$(stemsplit completion bash)"

        zsh, in ~/.zshrc after compinit: eval "$(stemsplit completion zsh)"

        fish: stemsplit completion fish > ~/.config/fish/completions/stemsplit.fish

        Parameters
        ----------
        shell:
            bash, zsh or fish.
        """
        print(app.generate_completion(shell=shell))
        if also := _ALSO.get(shell):
            print(also)
        return ExitCode.DONE

    app.command(config, help_epilogue="")
    app.command(completion, help_epilogue="")


def _print(found: list[settings.Setting]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("setting", "value", "from"):
        table.add_column(name, overflow="fold")
    for one in found:
        value = "" if one.value is None else printable(settings.written(one.value))
        style = "" if one.origin == "default" else "bold"
        table.add_row(one.option, Text(value, style=style), Text(one.origin, style=style))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for path in settings.files():
        there = "" if path.exists() else ", which is not there"
        console.print(Text(f"looked into {printable(path)}{there}"))

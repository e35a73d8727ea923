"""Runs in the supervisor. Formats `--help`, which fits a screen, and `--help-all`.

Every command creates a formatter, so the modules that only a help page needs are imported in its
methods.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from stemsplit.cli.overview import HELP_ALL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

_LABEL_COLUMNS = 30
_FIRST_SENTENCE = re.compile(r".*?[.;:](?=\s|$)", re.DOTALL)


class HelpFormatter:
    """Formats a help page (`HelpFormatter` of cyclopts).

    Args:
        everything: whether to show all options with their full text.
    """

    def __init__(self, *, everything: bool) -> None:
        """Store the level of detail."""
        self._everything = everything

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one group of arguments, options or commands."""
        from rich.table import Table
        from rich.text import Text

        del options
        entries = [entry for entry in panel.entries if self._is_shown(entry, panel)]
        if not entries:
            return
        console.print(Text(f"{panel.title}:", style="bold"))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(max_width=_LABEL_COLUMNS, overflow="fold")
        table.add_column(overflow="fold")
        for entry in entries:
            # cyclopts 4 (Python 3.10) knows no metavars.
            names = getattr(entry, "display_labels_with_metavar", entry.names + entry.shorts)
            labels = ", ".join(names)
            table.add_row(Text(f"  {labels}", style="cyan"), Text(" ".join(self._sentences(entry))))
        console.print(table)

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:  # noqa: ANN401 - cyclopts' own
        """Print the usage line."""
        from rich.text import Text

        del options
        console.print(Text(f"Usage: {str(usage).strip()}"))

    def render_description(
        self,
        console: Console,
        options: ConsoleOptions,
        description: Any,  # noqa: ANN401 - cyclopts' own
    ) -> None:
        """Print the description."""
        from rich.text import Text

        del options
        for paragraph in _text(description).split("\n\n"):
            if paragraph.strip():
                console.print(Text(_joined(paragraph)))
        console.print()

    def _is_shown(self, entry: HelpEntry, panel: HelpPanel) -> bool:
        from stemsplit.cli.options import EVERYDAY, GROUPS

        if HELP_ALL in entry.names:
            return False  # the epilogue names it
        if self._everything or panel.format == "command" or str(panel.title) not in GROUPS:
            return True
        return not EVERYDAY.isdisjoint(entry.names)

    def _sentences(self, entry: HelpEntry) -> Iterator[str]:
        text = _joined(_text(entry.description))
        if not self._everything and (found := _FIRST_SENTENCE.match(text)):
            text = found[0][:-1] + "."
        yield f"{text} (required)" if entry.required else text
        if not self._everything:
            return
        if entry.choices and not all(choice in text for choice in entry.choices):
            yield f"One of {', '.join(entry.choices)}."
        if entry.default not in {None, "False"}:
            yield f"[default: {entry.default}]"


def _text(description: Any) -> str:  # noqa: ANN401 - None, text or a renderable of cyclopts
    return str(getattr(description, "primary_renderable", description or ""))


def _joined(text: str) -> str:
    """Return the text without the line breaks of its source."""
    return " ".join(text.split())

"""Tables that tests fill while they run, and that are printed when all are done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


class Table:
    """One of them; its rows belong to a run of pytest.

    Args:
        title: stands above it.
        head: its first line, in Markdown.
    """

    def __init__(self, title: str, head: str) -> None:
        """Begin with no rows."""
        self._title = title
        self._head = head
        self._rows = pytest.StashKey[list[str]]()

    def adder(self, config: pytest.Config) -> Callable[[str], None]:
        """Give what takes one row."""
        return config.stash.setdefault(self._rows, []).append

    def show(self, reporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """Print it, if it has rows."""
        rows = config.stash.get(self._rows, [])
        if not rows:
            return
        reporter.section(self._title)
        columns = self._head.count("|") - 1
        for line in (self._head, f"|{'---|' * columns}", *rows):
            reporter.line(line)

"""Tables that tests fill while they run, and that are printed when all are done."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class Table:
    """One of them; its rows are kept with the tests that add them, in whatever process these run.

    Args:
        title: stands above it.
        head: its first line, in Markdown.
    """

    def __init__(self, title: str, head: str) -> None:
        """Keep what stands above the rows."""
        self._title = title
        self._head = head

    def adder(self, test: pytest.FixtureRequest) -> Callable[[str], None]:
        """Give what takes one row of a test."""
        number = test.session.items.index(test.node)
        properties = test.node.user_properties
        return lambda row: properties.append((self._title, (number, row)))

    def show(self, reporter: pytest.TerminalReporter) -> None:
        """Print it, if it has rows, in the order of the tests."""
        rows = [
            numbered
            for reports in reporter.stats.values()
            for report in reports
            if getattr(report, "when", None) == "call"
            for title, numbered in report.user_properties
            if title == self._title
        ]
        if not rows:
            return
        reporter.section(self._title)
        columns = self._head.count("|") - 1
        in_order = [row for _number, row in sorted(rows, key=operator.itemgetter(0))]
        for line in (self._head, f"|{'---|' * columns}", *in_order):
            reporter.line(line)

"""Tables whose rows tests add, and that are printed after all tests."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class Table:
    """A table; its rows are stored in the reports of the tests, which may run in several processes.

    Args:
        title: title above the table.
        head: header line in Markdown.
    """

    def __init__(self, title: str, head: str) -> None:
        """Store the title and the header."""
        self._title = title
        self._head = head

    def adder(self, test: pytest.FixtureRequest) -> Callable[[str], None]:
        """Return a function that adds a row for a test."""
        number = test.session.items.index(test.node)
        properties = test.node.user_properties
        return lambda row: properties.append((self._title, (number, row)))

    def show(self, reporter: pytest.TerminalReporter) -> None:
        """Print the table in the order of the tests, unless it is empty."""
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

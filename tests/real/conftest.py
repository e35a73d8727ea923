"""Prints the table of differences that the equality tests measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

_HEAD = (
    "| model | samples | from Spleeter | below the stem | from exact "
    "| Spleeter from exact | from Spleeter with its own FFT |"
)
_ROWS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Take one row of the table."""
    return request.config.stash.setdefault(_ROWS, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table after the tests."""
    if rows := config.stash.get(_ROWS, []):
        terminalreporter.section("largest difference of any stem, full scale = 1")
        terminalreporter.line(_HEAD)
        terminalreporter.line("|---|---|---|---|---|---|---|")
        for row in rows:
            terminalreporter.line(row)

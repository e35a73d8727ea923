"""For tests of faults: nothing is left after each, and the table of faults is printed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from harness import assert_nothing_is_left, belongings
from tables import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stemsplit.supervisor.launcher import StartMethod


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where there is no /proc to look into."""
    if sys.platform == "linux":
        return
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.skip(reason="reads /proc and uses fork servers"))


@pytest.fixture(params=["forkserver", "spawn"])
def start_method(request: pytest.FixtureRequest) -> StartMethod:
    """Each way to start a child."""
    method: StartMethod = request.param
    return method


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """No process anywhere, no thread, descriptor or temporary file more than before the test."""
    if "faults" not in request.path.parts:
        yield
        return
    before = belongings()
    yield
    assert_nothing_is_left(before)


_FAULTS = Table("faults", "| fault | start | settled after, s | outcome | in words |")


@pytest.fixture
def matrix(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Take one row of the table of faults."""
    return _FAULTS.adder(request)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table after the tests."""
    _FAULTS.show(terminalreporter)

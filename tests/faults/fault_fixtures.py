"""Fixtures for the tests of faults; each test is checked for leftovers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from harness import assert_no_leftovers, resources_in_use
from tables import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stemsplit.supervisor.launcher import StartMethod


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of faults on systems without /proc."""
    if sys.platform == "linux":
        return
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.skip(reason="reads /proc and uses fork servers"))


@pytest.fixture(params=["forkserver", "spawn"])
def start_method(request: pytest.FixtureRequest) -> StartMethod:
    """Both start methods."""
    method: StartMethod = request.param
    return method


@pytest.fixture(autouse=True)
def _no_leftovers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check that a test leaves no processes, threads, descriptors or temporary files behind."""
    if "faults" not in request.path.parts:
        yield
        return
    before = resources_in_use()
    yield
    assert_no_leftovers(before)


_FAULTS = Table("faults", "| fault | start method | seconds to the outcome | reason | message |")


@pytest.fixture
def fault_table(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Add a row to the table of faults."""
    return _FAULTS.adder(request)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table after the tests."""
    _FAULTS.show(terminalreporter)

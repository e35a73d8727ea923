"""The worker of pytest-xdist that this process is, if tests run in several processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLES = ("PYTEST_XDIST_TESTRUNUID", "PYTEST_XDIST_WORKER")
"""Environment variables that all processes started by a worker inherit."""

XDIST_WORKER = os.environ.get(_VARIABLES[1])
"""Name of the worker; None without pytest-xdist."""


def is_of_this_worker(environment: Mapping[str, str]) -> bool:
    """Return whether a process with this environment may have been started by this worker."""
    return all(environment.get(name) == os.environ.get(name) for name in _VARIABLES)

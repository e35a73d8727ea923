"""Where tests run in several processes of pytest-xdist: which of them this is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES = ("PYTEST_XDIST_TESTRUNUID", "PYTEST_XDIST_WORKER")
"""All that one of them starts inherits these."""

XDIST_WORKER = os.environ.get(_NAMES[1])
"""Its name; None where tests run in one process alone."""


def is_of_these_tests(environment: Mapping[str, str]) -> bool:
    """Whether a process with such an environment may have been started by this one's tests."""
    return all(environment.get(name) == os.environ.get(name) for name in _NAMES)

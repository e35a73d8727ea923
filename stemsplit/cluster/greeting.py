"""Runs in a worker of Ray's. What a node is asked before it is given anything.

Travels there as a whole, so that it also runs where stemsplit is missing or is another one: nothing
but the standard library is imported.
"""

import importlib.metadata
import importlib.util
import os
import time


def installed_version() -> str:
    """Give the version of the stemsplit that is installed, empty if none is."""
    try:
        if importlib.util.find_spec("stemsplit") and importlib.util.find_spec("stemsplit.cluster"):
            return importlib.metadata.version("stemsplit")
    except importlib.metadata.PackageNotFoundError:
        pass
    return ""


def greet(sign: bytes, sight_seconds: float) -> tuple[str, bool]:
    """Tell which stemsplit is installed, and whether a file is seen.

    Args:
        sign: the file; empty if none need be seen.
        sight_seconds: how long a network disk may take to show it.

    Returns:
        the version, empty if it is not installed; and whether the file is seen.
    """
    version = installed_version()
    deadline = time.monotonic() + sight_seconds
    while sign and not os.path.exists(sign):  # noqa: PTH110 - bytes
        if time.monotonic() > deadline:
            return version, False
        time.sleep(0.2)
    return version, True

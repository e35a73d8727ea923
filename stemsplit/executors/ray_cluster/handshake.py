"""Runs in a worker of Ray's. What a node is asked before it is given anything.

Travels there as a whole, so that it also runs where stemsplit is missing or is another one: nothing
but the standard library is imported.
"""

import importlib.metadata
import importlib.util
import os
import time

SIGHT_SECONDS = 10.0
"""So long a network disk may take to show what another machine has just written."""


def installed_version() -> str:
    """Give the version of the stemsplit that is installed, empty if none is."""
    try:
        if importlib.util.find_spec("stemsplit") and importlib.util.find_spec(
            "stemsplit.executors.ray_cluster"
        ):
            return importlib.metadata.version("stemsplit")
    except importlib.metadata.PackageNotFoundError:
        pass
    return ""


def greet(sign: bytes) -> tuple[str, bool]:
    """Tell which stemsplit is installed, and whether a file is seen.

    Args:
        sign: the file; empty if none need be seen.

    Returns:
        the version, empty if it is not installed; and whether the file is seen.
    """
    return installed_version(), not sign or is_seen_in_time([sign])


def is_seen_in_time(paths: list[bytes]) -> bool:
    """Tell whether any of these files is seen, or comes to be in a moment."""
    deadline = time.monotonic() + SIGHT_SECONDS
    while not any(map(os.path.exists, paths)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True

"""Runs in a Ray worker. Reports the version of stemsplit on a node, and whether it sees a file.

Ray sends this module to the nodes by value, so it also runs where stemsplit is missing or has
another version. Therefore it imports only the standard library.
"""

import importlib.metadata
import importlib.util
import os
import time

DISTRIBUTION = "stemsplit-batch"
"""The same as in `stemsplit.core.version`."""

VISIBLE_SECONDS = 10.0
"""Time that a network disk may need to show a file that another machine has just written."""


def installed_version() -> str:
    """Return the version of the installed stemsplit; empty if it is not installed.

    The code of another release may have the same version while that is developed. If it has other
    modules, the version says so, because a shard could not start there.
    """
    if importlib.util.find_spec("stemsplit") is None:
        return ""
    try:
        version = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ""
    try:
        shard_worker = importlib.util.find_spec("stemsplit.executors.ray_cluster.shard_worker")
    except ModuleNotFoundError:  # a package on the way to it is missing
        shard_worker = None
    return version if shard_worker else f"{version} (other modules)"


def answer_handshake(sentinel: bytes) -> tuple[str, bool]:
    """Report on this node.

    Args:
        sentinel: path of a file on shared storage; empty if there is none.

    Returns:
        the version of stemsplit, empty if it is not installed; and whether the file is visible.
    """
    return installed_version(), not sentinel or wait_until_visible([sentinel])


def wait_until_visible(paths: list[bytes]) -> bool:
    """Wait up to `VISIBLE_SECONDS`; return whether any of the files exists by then."""
    deadline = time.monotonic() + VISIBLE_SECONDS
    while not any(map(os.path.exists, paths)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True

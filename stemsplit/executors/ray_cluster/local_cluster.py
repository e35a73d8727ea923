"""Runs in the supervisor. What a cluster of our own must know before Ray is imported.

Ray reads its environment while it is imported, and hands it to all that it starts.
"""

from __future__ import annotations

import os
import secrets
import sys


def be_private() -> None:
    """Let a cluster that is started here be this machine's alone.

    It listens on the loopback interface, takes work from nobody else, and sends no statistics.
    What is set already stays as it is. What is set here stays as well: Ray reads it once in the
    life of a program.
    """
    if "ray" in sys.modules:  # it has read its environment by now
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Whatever its name says, this makes Ray take the loopback address for the machine's own, on
    # every system (get_node_ip_address in ray/_private/services.py).
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

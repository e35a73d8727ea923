"""Runs in the supervisor. What a cluster of our own must know before Ray is imported.

Ray reads its environment while it is imported, and hands it to all that it starts.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def private() -> Iterator[None]:
    """Let a cluster that is started within this be this machine's alone.

    It listens on the loopback interface, takes work from nobody else, and sends no statistics.
    What is set already stays as it is.
    """
    if "ray" in sys.modules:  # it has read its environment by now: the program's own business
        yield
        return
    new = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Whatever its name says, this makes Ray take the loopback address for the machine's own,
        # on every system (get_node_ip_address in ray/_private/services.py).
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    if "RAY_AUTH_MODE" not in os.environ:
        new |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    ours = {name: value for name, value in new.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)

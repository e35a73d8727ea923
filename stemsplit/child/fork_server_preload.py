"""Runs in the fork server, as the last of the modules that it imports before the first child.

Freezing moves everything imported so far out of the garbage collector's sight. Otherwise the first
collection in each child would touch, and so copy, every page that it shares with the fork server.
Then it tells the supervisor that the imports are done.
"""

import contextlib
import gc
import os
from pathlib import Path

from stemsplit.core.child_entry import READY_FILE, SESSION_VARIABLE

gc.collect()
gc.freeze()
with contextlib.suppress(KeyError, OSError):
    (Path(os.environ[SESSION_VARIABLE]) / READY_FILE).touch()

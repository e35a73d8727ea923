"""Runs in the fork server. The last module that it imports before it forks the first child.

Freezing exempts all objects imported so far from garbage collection. Otherwise, the first
collection in each child would write to, and so copy, every page that it shares with the fork
server. The module then signals to the supervisor that the imports are done.
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

"""Runs in the child. What makes a process a child of the supervisor's: the prologue of its life.

Covers signals, what it prints and logs, its standing with the kernel, and what becomes of it when
the supervisor wants it to end or is gone. It knows nothing of audio.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import logging.handlers
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.core.errors import StoppedError
from stemsplit.core.messages import STOP, encode_record

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

STACK_SIGNAL = getattr(signal, "SIGUSR1", None)
"""Makes a child write the stacks of all its threads into its log, also while it holds the GIL."""

_ORPHANED = 120
"""Exit code of a child whose supervisor is gone; nobody is left to read it."""

_ORPHAN_GRACE_SECONDS = 1.0
"""Leaves the first word to the warden, which also finds what this child has started."""

_OOM_SCORE_ADJUSTMENT = "500"
"""Half of the machine's memory on top of its own when the kernel looks for whom to kill
(proc(5), oom_score_adj): a child goes before the supervisor and before people's programs."""


class Watch:
    """Listens to the supervisor on a thread of its own while the child works."""

    def __init__(self, pipe: Connection) -> None:
        """Start listening; ends the process when the supervisor is gone."""
        self._pipe = pipe
        self._asked = threading.Event()
        supervisor = multiprocessing.parent_process()
        self._sentinel = None if supervisor is None else supervisor.sentinel
        threading.Thread(target=self._listen, name="watch", daemon=True).start()

    def check(self) -> None:
        """Raise `StoppedError` once the supervisor has asked the child to end."""
        if self._asked.is_set():
            raise StoppedError("The child ended because the supervisor asked it to.")

    def _listen(self) -> None:
        while True:
            ready = wait([self._pipe] if self._sentinel is None else [self._pipe, self._sentinel])
            if self._sentinel in ready:
                break
            try:
                if self._pipe.recv_bytes() == STOP:
                    self._asked.set()
            except (EOFError, OSError):  # closed on the other side, as it is after the last word
                break
        if self._sentinel is not None:
            wait([self._sentinel])
        time.sleep(_ORPHAN_GRACE_SECONDS)
        os._exit(_ORPHANED)


def settle_in(log_channel: Connection, *, nice: int = 0) -> None:
    """Make this process a good child.

    Args:
        log_channel: takes what is logged.
        nice: how much it gives way to other programs, from 0 to 19.
    """
    _give_way(nice)
    # A terminal sends Ctrl-C to everything in the foreground; only the supervisor may decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if STACK_SIGNAL is not None:
        faulthandler.register(STACK_SIGNAL, file=2, all_threads=True)
    _catch_logging(log_channel)
    _go_first_when_memory_runs_out()
    _forget_the_peak_of_the_fork_server()


def peak_rss_bytes() -> int | None:
    """Give the largest memory that this process has had since `settle_in`; None if unknown."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _catch_logging(log_channel: Connection) -> None:
    root = logging.getLogger()
    for handler in list(root.handlers):  # libraries that were preloaded may have put some there
        root.removeHandler(handler)
    root.addHandler(logging.handlers.QueueHandler(_Channel(log_channel)))
    root.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)


def _give_way(nice: int) -> None:
    if nice == 0:
        return
    if hasattr(os, "nice"):
        os.nice(nice)
    else:  # Windows has classes instead
        import psutil

        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)


class _Channel:
    """The end of a log's pipe, as the queue that `logging.handlers.QueueHandler` writes to."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def get(self) -> logging.LogRecord:
        raise NotImplementedError("the supervisor reads it")

    def put_nowait(self, record: logging.LogRecord) -> None:
        self._pipe.send_bytes(encode_record(record))


def _go_first_when_memory_runs_out() -> None:
    with contextlib.suppress(OSError):  # there on Linux alone; raising it needs no rights
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJUSTMENT)


def _forget_the_peak_of_the_fork_server() -> None:
    # A forked process inherits its parent's peak; 5 resets it (proc(5), clear_refs).
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")

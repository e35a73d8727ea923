"""Runs in the child. Sets up the process, and ends it when the supervisor is gone."""

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
"""Makes a child write the stacks of all its threads to its log, even while it holds the GIL."""

_ORPHAN_EXIT_CODE = 120
"""Exit code of a child whose supervisor is gone; no process reads it."""

_ORPHAN_GRACE_SECONDS = 1.0
"""Time for the watchdog to terminate the child first: it also finds the child's own children."""

_OOM_SCORE_ADJUSTMENT = "500"
"""Adds half of the machine's memory to the child's own when the kernel chooses a process to kill
(proc(5), oom_score_adj), so it kills a child before the supervisor or other programs."""


class SupervisorListener:
    """Receives the supervisor's stop request and notices its exit, on a separate thread."""

    def __init__(self, pipe: Connection) -> None:
        """Start the thread, which ends the process when the supervisor is gone."""
        self._pipe = pipe
        self._is_stop_requested = threading.Event()
        supervisor = multiprocessing.parent_process()
        self._sentinel = None if supervisor is None else supervisor.sentinel
        threading.Thread(target=self._listen, name="supervisor-listener", daemon=True).start()

    def check(self) -> None:
        """Raise `StoppedError` if the supervisor asked the child to stop."""
        if self._is_stop_requested.is_set():
            raise StoppedError("The child stopped because the supervisor asked it to.")

    def _listen(self) -> None:
        while True:
            ready = wait([self._pipe] if self._sentinel is None else [self._pipe, self._sentinel])
            if self._sentinel in ready:
                break
            try:
                if self._pipe.recv_bytes() == STOP:
                    self._is_stop_requested.set()
            except (EOFError, OSError):  # the supervisor closes it after the last message
                break
        if self._sentinel is not None:
            wait([self._sentinel])
        time.sleep(_ORPHAN_GRACE_SECONDS)
        os._exit(_ORPHAN_EXIT_CODE)


def set_up_process(log_channel: Connection, *, nice: int = 0) -> None:
    """Set up signals, logging through `log_channel`, and a nice value of 0 to 19."""
    _set_niceness(nice)
    # Ctrl-C in a terminal reaches all foreground processes; only the supervisor handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32" and STACK_SIGNAL is not None:
        faulthandler.register(STACK_SIGNAL, file=2, all_threads=True)
    _redirect_logging(log_channel)
    with contextlib.suppress(OSError):  # Linux only; raising the score needs no privileges
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJUSTMENT)
    # A forked process inherits the fork server's peak; 5 resets it (proc(5), clear_refs).
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_rss_bytes() -> int | None:
    """Return the peak resident memory since `set_up_process`, in bytes; None if it is unknown."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _redirect_logging(log_channel: Connection) -> None:
    root = logging.getLogger()
    for handler in list(root.handlers):  # preloaded libraries may have added some
        root.removeHandler(handler)
    root.addHandler(logging.handlers.QueueHandler(_LogQueue(log_channel)))
    root.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)


def _set_niceness(nice: int) -> None:
    if nice == 0:
        return
    if hasattr(os, "nice"):
        os.nice(nice)
    else:  # Windows has priority classes instead
        import psutil

        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)


class _LogQueue:
    """Adapts a connection to the queue interface of `logging.handlers.QueueHandler`."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def get(self) -> logging.LogRecord:
        raise NotImplementedError("the supervisor reads it")

    def put_nowait(self, record: logging.LogRecord) -> None:
        self._pipe.send_bytes(encode_record(record))

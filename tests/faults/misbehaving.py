"""Programs for children: one fault each, and a few without a fault.

The launcher starts `run`, which sets up the process as the real child does, and then calls the
function with the name of the task's source.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.child.process import SupervisorListener, peak_rss_bytes, set_up_process
from stemsplit.core.messages import Finished, Hello, Progress, Ready, Separated, decode_task, send

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from stemsplit.core.messages import Task

FOREVER_SECONDS = 600
LISTENERS: list[SupervisorListener] = []
"""The listener of this child."""

MEBIBYTE = 2**20


def run(pipe: Connection, log_channel: Connection, packed_task: bytes) -> None:
    """Call the function that the source of the task names, without setup if it is `early_*`."""
    task = decode_task(packed_task)
    name = task.job.source_path.name.partition("-")[0]
    program = globals()[name]
    if name.startswith("early_"):
        program(pipe, task)
        return
    set_up_process(log_channel)
    LISTENERS.append(SupervisorListener(pipe))
    send(pipe, Hello(preloaded=False))
    send(pipe, Ready())
    program(pipe, task)


def _finish(pipe: Connection) -> None:
    send(pipe, Finished(stems=(), audio_seconds=1.0, peak_rss_bytes=peak_rss_bytes()))


def succeed(pipe: Connection, _task: Task) -> None:
    """Report progress and a result, and exit."""
    send(pipe, Progress(audio_seconds=0.5))
    _finish(pipe)


def work_for_a_second(pipe: Connection, _task: Task) -> None:
    """Report progress for a second, and exit with a result."""
    for tenths in range(10):
        send(pipe, Progress(audio_seconds=tenths / 10))
        time.sleep(0.1)
    _finish(pipe)


def close_slowly(pipe: Connection, _task: Task) -> None:
    """Separate everything, and need another second to close the files."""
    send(pipe, Progress(audio_seconds=1.0))
    send(pipe, Separated())
    time.sleep(1.0)
    _finish(pipe)


def hold_memory(pipe: Connection, task: Task) -> None:
    """Use 150 MiB for a second, which is below the cap."""
    block = bytearray(os.urandom(1)) * (150 * MEBIBYTE)
    work_for_a_second(pipe, task)
    del block


def leak(pipe: Connection, _task: Task) -> None:
    """Leak 200 MB per second while reporting progress."""
    kept = []
    for tick in range(10 * FOREVER_SECONDS):
        kept.append(bytearray(b"x") * 20_000_000)
        send(pipe, Progress(audio_seconds=float(tick)))
        time.sleep(0.1)


def allocate_at_once(_pipe: Connection, _task: Task) -> None:
    """Allocate 2 GiB at once, and hang."""
    block = bytearray(b"x") * (2 * 1024 * MEBIBYTE)
    time.sleep(FOREVER_SECONDS)
    del block


def exceed_cgroup_limit(_pipe: Connection, task: Task) -> None:
    """Join the control group named in the staging folder, and exceed its memory limit."""
    group = Path((task.staging_path / "cgroup").read_text())
    (group / "cgroup.procs").write_text(str(os.getpid()))
    block = bytearray(b"x") * (1024 * MEBIBYTE)
    time.sleep(FOREVER_SECONDS)
    del block


def hang_in_python(_pipe: Connection, _task: Task) -> None:
    """Hang in `time.sleep`."""
    time.sleep(FOREVER_SECONDS)


def hang_in_c(_pipe: Connection, _task: Task) -> None:
    """Hang in C with the interpreter lock held, so that no other Python thread runs."""
    _deadlock()


def _deadlock() -> None:
    """Lock a mutex twice, which a signal does not interrupt, unlike a sleep."""
    mutex = ctypes.create_string_buffer(64)  # zeros are PTHREAD_MUTEX_INITIALIZER on Linux
    libc_with_gil = ctypes.PyDLL(None)
    for _ in range(2):
        libc_with_gil.pthread_mutex_lock(mutex)


def spin(_pipe: Connection, _task: Task) -> None:
    """Loop without progress."""
    while True:
        pass


def ignore_sigterm(_pipe: Connection, _task: Task) -> None:
    """Hang, and ignore SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(FOREVER_SECONDS)


def exit_on_request(pipe: Connection, _task: Task) -> None:
    """Run forever in short steps, and exit on request as the real child does."""
    listener = LISTENERS[-1]
    for tick in range(10 * FOREVER_SECONDS):
        send(pipe, Progress(audio_seconds=float(tick)))
        listener.check()
        time.sleep(0.05)


def exit_without_a_result(_pipe: Connection, _task: Task) -> None:
    """Return normally."""


def exit_with_a_code(_pipe: Connection, _task: Task) -> None:
    """Exit with 7."""
    sys.exit(7)


def segfault(_pipe: Connection, _task: Task) -> None:
    """Read address 0."""
    ctypes.string_at(0)


def kill_itself(_pipe: Connection, _task: Task) -> None:
    """Exit by SIGKILL, although the kernel is not out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


class UnpicklableError(Exception):
    """An error that cannot be pickled."""

    def __init__(self) -> None:
        """Store a lock and a lambda."""
        super().__init__("this cannot be pickled")
        self.lock = threading.Lock()
        self.function = lambda: None


def raise_unpicklable(_pipe: Connection, _task: Task) -> None:
    """Raise an error that nothing catches."""
    raise UnpicklableError


def print_garbage(pipe: Connection, task: Task) -> None:
    """Write binary data to standard output and standard error, and finish."""
    os.write(1, bytes(range(256)) * 64)
    os.write(2, b"\x1b[2J\xff\xfe garbage\n")
    succeed(pipe, task)


def leave_a_grandchild(pipe: Connection, task: Task) -> None:
    """Start a process that keeps running, and finish."""
    subprocess.Popen(["sleep", str(FOREVER_SECONDS)])
    succeed(pipe, task)


def leave_a_daemon(pipe: Connection, task: Task) -> None:
    """Start a process in a new session, without a parent, and finish."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(FOREVER_SECONDS)
        os._exit(0)
    os.wait()
    succeed(pipe, task)


def hang_with_a_grandchild(_pipe: Connection, task: Task) -> None:
    """Start a process in a new session, write both PIDs, and hang with the interpreter lock."""
    grandchild = subprocess.Popen(["sleep", str(FOREVER_SECONDS)], start_new_session=True)
    task.log_path.with_suffix(".pid").write_text(f"{os.getpid()} {grandchild.pid}")
    _deadlock()


def die_while_logging(_pipe: Connection, _task: Task) -> None:
    """Log forever, and be killed meanwhile."""
    killer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL))
    killer.start()
    logger = logging.getLogger("chatter")
    while True:
        logger.warning("la %s", "la " * 500)


def log_and_print(pipe: Connection, task: Task) -> None:
    """Log, print, write as a C library does, and exit without a result."""
    logging.getLogger("some.library").info("logged at level info")
    try:
        int("for the log")
    except ValueError:
        logging.getLogger("some.library").exception("logged with a traceback")
    sys.stdout.write("printed\n")
    os.write(2, b"written by C\n")
    send(pipe, Progress(audio_seconds=0.1))
    time.sleep(0.2)
    del task


def die_during_a_message(pipe: Connection, _task: Task) -> None:
    """Announce 100 bytes, send 10, and be killed."""
    os.write(pipe.fileno(), (100).to_bytes(4, "big") + b"0123456789")
    os.kill(os.getpid(), signal.SIGKILL)


def hang_during_a_message(pipe: Connection, _task: Task) -> None:
    """Send half of a message's length, and hang."""
    os.write(pipe.fileno(), b"\0\0")
    time.sleep(FOREVER_SECONDS)


def stop_itself(_pipe: Connection, _task: Task) -> None:
    """Stop as a process does at Ctrl-Z."""
    os.kill(os.getpid(), signal.SIGSTOP)


def send_garbage(pipe: Connection, _task: Task) -> None:
    """Send invalid data, and hang."""
    pipe.send_bytes(b"\xc1 this is not a message")
    time.sleep(FOREVER_SECONDS)


def announce_huge_message(pipe: Connection, _task: Task) -> None:
    """Begin a message of two gigabytes, and hang."""
    os.write(pipe.fileno(), (2**31 - 1).to_bytes(4, "big") + b"little")
    time.sleep(FOREVER_SECONDS)


def flood_pipe(pipe: Connection, _task: Task) -> None:
    """Report progress as fast as the pipe accepts it for a second, and finish."""
    until = time.monotonic() + 1
    while time.monotonic() < until:
        send(pipe, Progress(audio_seconds=0.5))
    _finish(pipe)


def crash_after_the_result(pipe: Connection, _task: Task) -> None:
    """Report a result, and crash."""
    _finish(pipe)
    os.kill(os.getpid(), signal.SIGSEGV)


def hang_after_the_result(pipe: Connection, _task: Task) -> None:
    """Report a result, and hang."""
    _finish(pipe)
    time.sleep(FOREVER_SECONDS)


def early_segfault(_pipe: Connection, _task: Task) -> None:
    """Crash before the first message, as in a broken installation."""
    ctypes.string_at(0)

"""Programs for children that misbehave, one fault each, and some that behave.

`run` is what the launcher starts. It makes itself a child as the real one does, and then calls the
function that bears the name of the task's source.
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

from stemsplit.child.process import Watch, peak_rss_bytes, settle_in
from stemsplit.core.messages import Finished, Hello, Progress, Ready, Separated, decode_task, send

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from stemsplit.core.messages import Task

FOR_EVER = 600
WATCHES: list[Watch] = []
"""What listens to the supervisor in this child."""

MEBIBYTE = 2**20


def run(pipe: Connection, log_channel: Connection, packed_task: bytes) -> None:
    """Do what the task's source names; a name that begins with `early_` before anything else."""
    task = decode_task(packed_task)
    name = task.job.source_path.name.partition("-")[0]
    program = globals()[name]
    if name.startswith("early_"):
        program(pipe, task)
        return
    settle_in(log_channel)
    WATCHES.append(Watch(pipe))
    send(pipe, Hello(preloaded=False))
    send(pipe, Ready())
    program(pipe, task)


def _finish(pipe: Connection) -> None:
    send(pipe, Finished(stems=(), audio_seconds=1.0, peak_rss_bytes=peak_rss_bytes()))


def behave(pipe: Connection, _task: Task) -> None:
    """Report progress and a result, and exit."""
    send(pipe, Progress(audio_seconds=0.5))
    _finish(pipe)


def take_a_while(pipe: Connection, _task: Task) -> None:
    """Work for a second, with progress, and exit."""
    for tenths in range(10):
        send(pipe, Progress(audio_seconds=tenths / 10))
        time.sleep(0.1)
    _finish(pipe)


def close_slowly(pipe: Connection, _task: Task) -> None:
    """Be done with the work, and wait for the disk."""
    send(pipe, Progress(audio_seconds=1.0))
    send(pipe, Separated())
    time.sleep(1.0)
    _finish(pipe)


def hold_memory(pipe: Connection, task: Task) -> None:
    """Take 150 MiB for a second, as a good child may."""
    block = bytearray(os.urandom(1)) * (150 * MEBIBYTE)
    take_a_while(pipe, task)
    del block


def leak(pipe: Connection, _task: Task) -> None:
    """Take 200 MB more every second, with progress all the while."""
    kept = []
    for tick in range(10 * FOR_EVER):
        kept.append(bytearray(b"x") * 20_000_000)
        send(pipe, Progress(audio_seconds=float(tick)))
        time.sleep(0.1)


def gulp(_pipe: Connection, _task: Task) -> None:
    """Take 2 GiB at once, and stay."""
    block = bytearray(b"x") * (2 * 1024 * MEBIBYTE)
    time.sleep(FOR_EVER)
    del block


def gulp_in_a_group(_pipe: Connection, task: Task) -> None:
    """Enter the control group that the work folder names, and take more than it allows."""
    group = Path((task.staging_path / "group").read_text())
    (group / "cgroup.procs").write_text(str(os.getpid()))
    block = bytearray(b"x") * (1024 * MEBIBYTE)
    time.sleep(FOR_EVER)
    del block


def hang_in_python(_pipe: Connection, _task: Task) -> None:
    """Sleep."""
    time.sleep(FOR_EVER)


def hang_in_c(_pipe: Connection, _task: Task) -> None:
    """Wait in C and hold the interpreter's lock: no other thread of Python runs."""
    _deadlock()


def _deadlock() -> None:
    """Lock a mutex twice; unlike a sleep, this goes on after a signal."""
    mutex = ctypes.create_string_buffer(64)  # zeros are PTHREAD_MUTEX_INITIALIZER on Linux
    with_the_lock_held = ctypes.PyDLL(None)
    for _ in range(2):
        with_the_lock_held.pthread_mutex_lock(mutex)


def spin(_pipe: Connection, _task: Task) -> None:
    """Use one processor for nothing."""
    while True:
        pass


def ignore_terminate(_pipe: Connection, _task: Task) -> None:
    """Hang, and not end when told."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(FOR_EVER)


def stop_when_asked(pipe: Connection, _task: Task) -> None:
    """Separate for ever, in steps, as the real child does."""
    watch = WATCHES[-1]
    for tick in range(10 * FOR_EVER):
        send(pipe, Progress(audio_seconds=float(tick)))
        watch.check()
        time.sleep(0.05)


def exit_without_a_result(_pipe: Connection, _task: Task) -> None:
    """Return as if all were well."""


def exit_with_a_code(_pipe: Connection, _task: Task) -> None:
    """Exit with 7."""
    sys.exit(7)


def segfault(_pipe: Connection, _task: Task) -> None:
    """Read address 0."""
    ctypes.string_at(0)


def kill_itself(_pipe: Connection, _task: Task) -> None:
    """End by SIGKILL, without the kernel's having run out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


class UnpicklableError(Exception):
    """Holds what cannot be pickled."""

    def __init__(self) -> None:
        """Hold a lock and a lambda."""
        super().__init__("this cannot be pickled")
        self.lock = threading.Lock()
        self.function = lambda: None


def raise_unpicklable(_pipe: Connection, _task: Task) -> None:
    """Raise outside of anything that catches."""
    raise UnpicklableError


def print_garbage(pipe: Connection, task: Task) -> None:
    """Write what is no text to standard output and error, and finish."""
    os.write(1, bytes(range(256)) * 64)
    os.write(2, b"\x1b[2J\xff\xfe garbage\n")
    behave(pipe, task)


def leave_a_grandchild(pipe: Connection, task: Task) -> None:
    """Start a process that goes on, and finish."""
    subprocess.Popen(["sleep", str(FOR_EVER)])
    behave(pipe, task)


def leave_a_daemon(pipe: Connection, task: Task) -> None:
    """Start a process in a session of its own, whose parent is gone at once, and finish."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(FOR_EVER)
        os._exit(0)
    os.wait()
    behave(pipe, task)


def hang_with_a_grandchild(_pipe: Connection, task: Task) -> None:
    """Start a process in a session of its own, tell its number, and hang with the lock held."""
    grandchild = subprocess.Popen(["sleep", str(FOR_EVER)], start_new_session=True)
    task.log_path.with_suffix(".pid").write_text(f"{os.getpid()} {grandchild.pid}")
    _deadlock()


def die_while_logging(_pipe: Connection, _task: Task) -> None:
    """Log without an end, and be killed in the midst of it."""
    killer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL))
    killer.start()
    logger = logging.getLogger("chatter")
    while True:
        logger.warning("la %s", "la " * 500)


def log_and_print(pipe: Connection, task: Task) -> None:
    """Log, print, write as a C library does, warn, and end without a result."""
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


def die_in_a_message(pipe: Connection, _task: Task) -> None:
    """Announce 100 bytes, send 10 and end."""
    os.write(pipe.fileno(), (100).to_bytes(4, "big") + b"0123456789")
    os.kill(os.getpid(), signal.SIGKILL)


def stop_in_a_message(pipe: Connection, _task: Task) -> None:
    """Send half of a message's length, and stay."""
    os.write(pipe.fileno(), b"\0\0")
    time.sleep(FOR_EVER)


def be_stopped(_pipe: Connection, _task: Task) -> None:
    """Stop, as Ctrl-Z stops a process."""
    os.kill(os.getpid(), signal.SIGSTOP)


def send_garbage(pipe: Connection, _task: Task) -> None:
    """Send something that is no message, and stay."""
    pipe.send_bytes(b"\xc1 this is no message")
    time.sleep(FOR_EVER)


def announce_too_much(pipe: Connection, _task: Task) -> None:
    """Begin a message of two gigabytes, and stay."""
    os.write(pipe.fileno(), (2**31 - 1).to_bytes(4, "big") + b"little")
    time.sleep(FOR_EVER)


def talk_without_an_end(pipe: Connection, _task: Task) -> None:
    """Report progress as quickly as the pipe takes it, for a second, and finish."""
    until = time.monotonic() + 1
    while time.monotonic() < until:
        send(pipe, Progress(audio_seconds=0.5))
    _finish(pipe)


def crash_after_the_result(pipe: Connection, _task: Task) -> None:
    """Report a result, then crash."""
    _finish(pipe)
    os.kill(os.getpid(), signal.SIGSEGV)


def stay_after_the_result(pipe: Connection, _task: Task) -> None:
    """Report a result and never exit."""
    _finish(pipe)
    time.sleep(FOR_EVER)


def early_segfault(_pipe: Connection, _task: Task) -> None:
    """Crash before the child's program has said a word, as a broken installation does."""
    ctypes.string_at(0)

"""Programs for children that misbehave, one fault each, and one that behaves."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.messages import Finished, Progress, decode_task, send

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

RESULT = Finished(stems=(), audio_seconds=1.0)


def behave(pipe: Connection, _task: bytes) -> None:
    """Report a result and exit."""
    send(pipe, Progress(audio_seconds=0.5))
    send(pipe, RESULT)


def exit_without_a_result(_pipe: Connection, _task: bytes) -> None:
    """Return as if all were well."""


def exit_with_a_code(_pipe: Connection, _task: bytes) -> None:
    """Exit with 7."""
    sys.exit(7)


def segfault(_pipe: Connection, _task: bytes) -> None:
    """Read address 0."""
    ctypes.string_at(0)


def kill_itself(_pipe: Connection, _task: bytes) -> None:
    """End as the kernel's out-of-memory killer would end it."""
    os.kill(os.getpid(), signal.SIGKILL)


def raise_in_main(_pipe: Connection, _task: bytes) -> None:
    """Fail outside of anything that catches."""
    raise RuntimeError("unexpected")


def send_garbage(pipe: Connection, _task: bytes) -> None:
    """Send something that is no message, and stay."""
    pipe.send_bytes(b"\xc1 this is no message")
    time.sleep(60)


def announce_too_much(pipe: Connection, _task: bytes) -> None:
    """Begin a message of two gigabytes, and stay."""
    os.write(pipe.fileno(), (2**31 - 1).to_bytes(4, "big") + b"little")
    time.sleep(60)


def crash_after_the_result(pipe: Connection, _task: bytes) -> None:
    """Report a result, then crash."""
    send(pipe, RESULT)
    os.kill(os.getpid(), signal.SIGSEGV)


def stay_after_the_result(pipe: Connection, _task: bytes) -> None:
    """Report a result and never exit."""
    send(pipe, RESULT)
    time.sleep(60)


def wait_for_ever(pipe: Connection, _task: bytes) -> None:
    """Say that it is alive, and hang."""
    send(pipe, Progress(audio_seconds=0.0))
    time.sleep(60)


def ignore_terminate(pipe: Connection, _task: bytes) -> None:
    """Hang, and not end when asked."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    send(pipe, Progress(audio_seconds=0.0))
    time.sleep(60)


def outlive_the_supervisor(pipe: Connection, task: bytes) -> None:
    """Write its process number beside the task's log, then hang under the real guard."""
    from stemsplit.child.main import _die_with_the_supervisor

    _die_with_the_supervisor()
    log = Path(os.fsdecode(decode_task(task).log_file))
    log.with_suffix(".pid").write_text(str(os.getpid()))
    send(pipe, Progress(audio_seconds=0.0))
    time.sleep(60)

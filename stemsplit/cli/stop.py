"""Runs in the supervisor. What the signals that end a program do to a batch.

Ctrl-C (SIGINT) once: start nothing more, and let what works finish. Twice: stop now. SIGTERM and
SIGHUP: stop now. In every case nothing is half-written.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from stemsplit.batch import Control

_DRAINING = b"stemsplit: finishing what is being separated; press Ctrl-C again to stop now.\n"


class StoppedBySignalError(BaseException):
    """SIGTERM or SIGHUP came; not an `Exception`, so that nothing on the way handles it."""

    def __init__(self, number: int) -> None:
        """Keep the exit code that a shell gives to what a signal ended."""
        super().__init__(number)
        self.exit_code = 128 + number


def stop_on_signals() -> None:
    """Make SIGTERM and SIGHUP raise `StoppedBySignalError`, unless they are ignored (nohup)."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


@contextlib.contextmanager
def first_interrupt_drains(control: Control) -> Iterator[None]:
    """Within this, let the first Ctrl-C drain the batch, and leave the second one as it was."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return

    def drain(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        os.write(2, _DRAINING)  # a signal may come in the midst of another line
        control.drain()

    signal.signal(signal.SIGINT, drain)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise StoppedBySignalError(number)

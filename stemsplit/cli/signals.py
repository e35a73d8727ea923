"""Runs in the supervisor. Handles the signals that stop a batch.

Ctrl-C (SIGINT) once starts no further track and lets the running ones finish; twice stops at once.
SIGTERM and SIGHUP stop at once. None of them leaves a partial file.
"""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from stemsplit.batch.api import Control


class StoppedBySignalError(BaseException):
    """SIGTERM or SIGHUP was received; not an `Exception`, so that no handler catches it."""

    def __init__(self, number: int) -> None:
        """Set the exit code that shells report for a process killed by the signal."""
        super().__init__(number)
        self.exit_code = 128 + number


def raise_on_signals() -> None:
    """Make SIGTERM and SIGHUP raise `StoppedBySignalError`, unless they are ignored (nohup)."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise_stopped)


@contextlib.contextmanager
def handle_signals(control: Control, on_drain: Callable[[], None]) -> Iterator[None]:
    """While the context is open, pass signals to `control` once the batch has children.

    They no longer raise then: an exception while a child is being terminated would interrupt that.

    Args:
        control: of the batch.
        on_drain: called in the signal handler at the first Ctrl-C.
    """
    previous: dict[int, Any] = {}

    def handle(number: int, _frame: FrameType | None) -> None:
        if not control.has_children:
            previous[number](number, _frame)
        elif number != signal.SIGINT:
            control.stop(StoppedBySignalError(number))
        elif control.draining:
            control.stop(KeyboardInterrupt())
        else:
            control.drain()
            on_drain()

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and callable(handler := signal.getsignal(number)):
            previous[number] = handler
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _raise_stopped(number: int, _frame: FrameType | None) -> NoReturn:
    raise StoppedBySignalError(number)

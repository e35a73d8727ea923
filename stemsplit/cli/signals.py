"""Runs in the supervisor. What the signals that end a program do to a batch.

Ctrl-C (SIGINT) once: start nothing more, and let what works finish. Twice: stop now. SIGTERM and
SIGHUP: stop now. In every case nothing is half-written.
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
def signals_reach(control: Control, drains: Callable[[], None]) -> Iterator[None]:
    """Within this, let signals act on a batch by `control`, once it has children.

    They raise nothing then: an exception in the midst of ending a child would leave it half ended.

    Args:
        control: of the batch.
        drains: is called when Ctrl-C has come once, in whatever line the signal came.
    """
    before: dict[int, Any] = {}

    def handle(number: int, _frame: FrameType | None) -> None:
        if not control.has_children:
            before[number](number, _frame)
        elif number != signal.SIGINT:
            control.stop(StoppedBySignalError(number))
        elif control.draining:
            control.stop(KeyboardInterrupt())
        else:
            control.drain()
            drains()

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and callable(handler := signal.getsignal(number)):
            before[number] = handler
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise StoppedBySignalError(number)

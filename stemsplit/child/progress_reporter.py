"""Runs in the child. Reports a job's progress and warnings, and stops the job on request."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from stemsplit.core.messages import Progress, Transferring, Warned, send
from stemsplit.core.outcome import TrackWarning, WarningKind

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from stemsplit.child.process import SupervisorListener
    from stemsplit.core.messages import Message

_INTERVAL_SECONDS = 1.0
"""Least time between two periodic reports."""


class ProgressReporter:
    """Sends messages to the supervisor and raises `StoppedError` once it asks the child to stop.

    All methods may be called from any thread.
    """

    def __init__(self, pipe: Connection, listener: SupervisorListener) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._listener = listener
        self._seconds = 0.0
        self._reported_at = time.monotonic()
        self._warnings: list[TrackWarning] = []

    @property
    def warnings(self) -> tuple[TrackWarning, ...]:
        """All warnings that were sent."""
        return tuple(self._warnings)

    def send(self, message: Message) -> None:
        """Send a message."""
        with self._lock:
            send(self._pipe, message)

    def warn(self, kind: WarningKind, text: str) -> None:
        """Send a warning."""
        self._warnings.append(TrackWarning(kind=kind, text=text))
        self.send(Warned(kind=kind, text=text))

    def add_written(self, seconds: float) -> None:
        """Add to the duration of the written audio.

        Raises:
            StoppedError: if the supervisor asked the child to stop.
        """
        self._seconds += seconds
        self._listener.check()

    def report(self) -> None:
        """Report the duration of the written audio now."""
        self._reported_at = time.monotonic()
        self.send(Progress(audio_seconds=self._seconds))

    def report_if_due(self) -> None:
        """Report the duration of the written audio, at most once a second.

        Raises:
            StoppedError: if the supervisor asked the child to stop.
        """
        if self._is_due():
            self.report()

    def report_transfer_if_due(self) -> None:
        """Report that a file is being transferred, at most once a second.

        Raises:
            StoppedError: if the supervisor asked the child to stop.
        """
        if self._is_due():
            self._reported_at = time.monotonic()
            self.send(Transferring())

    def _is_due(self) -> bool:
        self._listener.check()
        return time.monotonic() - self._reported_at >= _INTERVAL_SECONDS

"""Runs in the supervisor. The future of a track in a `StemPool`, and the error that it raises."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING

from stemsplit.core.errors import ExitCode, StemsplitError
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stemsplit.core.outcome import Outcome


class TrackError(StemsplitError):
    """A track failed; `StemFuture.result` raises this.

    Attributes:
        outcome: the reason, and the story, exit code, peak memory and log of each attempt.
    """

    exit_code = ExitCode.SOME_FAILED

    def __init__(self, outcome: Outcome) -> None:
        """Copy message and remedy from the outcome; add the story of the last attempt as notes."""
        super().__init__(f"{quoted(outcome.job.source)}: {outcome.message}", outcome.remedy)
        self.outcome = outcome
        last = outcome.last_attempt
        if last is not None and hasattr(self, "add_note"):  # Python 3.10 has no notes
            self.add_note("\n".join((f"Attempt {last.number} of this track:", *last.story)))
            for title, text in (("Traceback", last.traceback), ("Log", last.log_tail)):
                if text:
                    self.add_note(f"{title} of the child:\n{text.rstrip()}")

    def __reduce__(self) -> tuple[type[TrackError], tuple[Outcome]]:
        """Return what pickle needs to re-create the error in another process."""
        return type(self), (self.outcome,)


class StemFuture(Future["Outcome"]):
    """The future result of one track.

    `result` returns an `Outcome` whose reason is `done`, or raises `TrackError`. Unlike in
    `concurrent.futures`, `cancel` also stops a running track.
    """

    def __init__(self, source: Path, withdraw: Callable[[StemFuture], None]) -> None:
        """Store the source and `withdraw`, which cancels the track in its pool."""
        super().__init__()
        self.source = source
        self._withdraw = withdraw
        self._is_running: bool | None = None

    def begin(self) -> bool:
        """Mark the future as running; called by the pool.

        Returns:
            False if it was cancelled while queued. Its waiters are then already notified.
        """
        if self._is_running is None:
            self._is_running = self.set_running_or_notify_cancel()
        return self._is_running

    def cancel(self) -> bool:
        """Cancel the track, even while it runs.

        A running track may still finish first; `cancelled` returns which of the two happened.

        Returns:
            False if the track has already ended.
        """
        if self.done() and not self.cancelled():
            return False
        super().cancel()
        self._withdraw(self)
        return True

    def cancelled(self) -> bool:
        """Return whether the track was cancelled, while queued or running."""
        if super().cancelled():
            return True
        return self.done() and isinstance(self.exception(), CancelledError)

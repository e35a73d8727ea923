"""Runs in the supervisor. How others ask a batch that runs to end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.supervisor.pool_interface import WorkerPool


class Control:
    """Lets another thread, or a signal handler, ask a batch that runs to end.

    Attributes:
        draining: whether it was asked to start nothing more.
        stopped_by: what it was stopped with, None if it was not.
        unshown: why what is told of the batch could not be shown, for its summary; empty if it
            could.
    """

    def __init__(self) -> None:
        """Ask nothing yet."""
        self.draining = False
        self.stopped_by: BaseException | None = None
        self.unshown = ""
        self._pool: WorkerPool | None = None

    @property
    def has_children(self) -> bool:
        """Whether children may be running; before and after that there is nothing to end."""
        return self._pool is not None

    def drain(self) -> None:
        """Start nothing more, and let the tracks that are being separated finish."""
        self.draining = True
        if self._pool is not None:
            self._pool.drain()

    def stop(self, error: BaseException) -> None:
        """End every child now; `separate` then raises `error`."""
        self.stopped_by = self.stopped_by or error
        if self._pool is not None:
            self._pool.stop()

    @contextlib.contextmanager
    def over(self, pool: WorkerPool) -> Iterator[None]:
        """Act on `pool` within this; for the batch itself."""
        self._pool = pool
        if self.draining:
            pool.drain()
        if self.stopped_by is not None:
            pool.stop()
        try:
            yield
        finally:
            self._pool = None

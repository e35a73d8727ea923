"""Runs in the supervisor. Drains or stops a running batch from elsewhere."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.supervisor.pool_interface import WorkerPool


class Control:
    """Drains or stops a running batch, from another thread or a signal handler.

    Attributes:
        draining: whether the batch was asked to start no more tracks.
        stopped_by: the error that the batch was stopped with; None if it was not.
        unshown: why events could not be shown, for the summary; empty if they could.
    """

    def __init__(self) -> None:
        """Request nothing yet."""
        self.draining = False
        self.stopped_by: BaseException | None = None
        self.unshown = ""
        self._pool: WorkerPool | None = None

    @property
    def has_children(self) -> bool:
        """Whether children may be running."""
        return self._pool is not None

    def drain(self) -> None:
        """Start no more tracks; let the running ones finish."""
        self.draining = True
        if self._pool is not None:
            self._pool.drain()

    def stop(self, error: BaseException) -> None:
        """End every child now; `separate` then raises `error`."""
        self.stopped_by = self.stopped_by or error
        if self._pool is not None:
            self._pool.stop()

    @contextlib.contextmanager
    def controlling(self, pool: WorkerPool) -> Iterator[None]:
        """Pass requests on to `pool` within the context. For the batch itself."""
        self._pool = pool
        if self.draining:
            pool.drain()
        if self.stopped_by is not None:
            pool.stop()
        try:
            yield
        finally:
            self._pool = None

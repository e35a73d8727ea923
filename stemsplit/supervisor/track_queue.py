"""Runs in the supervisor. The tracks that wait, and the orders about them from other threads.

Each method but `add`, `cancel` and `close` belongs to the loop. Those three use nothing but
operations of a deque, which are whole in themselves.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemsplit.supervisor.attempt import Request
    from stemsplit.supervisor.pool_interface import TrackTask


class TrackQueue:
    """Tracks in line, first come first served.

    Attributes:
        closed: whether nothing more is added.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._waiting: deque[Request] = deque()
        self._aside: list[Request] = []
        self._cancelled: deque[TrackTask] = deque()
        self.closed = False

    def __bool__(self) -> bool:
        """Tell whether one waits."""
        return bool(self._waiting)

    def add(self, request: Request) -> None:
        """Put one at the end."""
        self._waiting.append(request)

    def requeue(self, request: Request) -> None:
        """Put one back to the head, without blame."""
        self._waiting.appendleft(request)

    def close(self) -> None:
        """Accept that nothing more is added."""
        self.closed = True

    @property
    def first(self) -> Request:
        """The one whose turn it is; there must be one."""
        return self._waiting[0]

    def take(self) -> Request:
        """Take the first one out."""
        return self._waiting.popleft()

    def put_aside(self) -> None:
        """Turn the first one away, for good."""
        self._aside.append(self.take())

    def cancel(self, track_task: TrackTask) -> None:
        """Note that a track is to be cancelled, wherever it is."""
        self._cancelled.append(track_task)

    def pop_cancelled(self) -> tuple[frozenset[int], list[Request]]:
        """Take out what is to be cancelled.

        Returns:
            the numbers (`id`) of all works that are to be, and those requests that were in line.
        """
        cancelled = frozenset(id(self._cancelled.popleft()) for _ in range(len(self._cancelled)))
        if not cancelled:
            return cancelled, []
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        # What other threads have added meanwhile comes after those that were there.
        self._waiting.extendleft(
            request for request in reversed(waiting) if id(request.track_task) not in cancelled
        )
        return cancelled, [request for request in waiting if id(request.track_task) in cancelled]

    def unstarted(self) -> list[TrackTask]:
        """List the tracks in line, and those turned away."""
        return [request.track_task for request in (*self._waiting, *self._aside)]

    def turned_away(self) -> list[TrackTask]:
        """List the tracks turned away."""
        return [request.track_task for request in self._aside]

"""Runs in the supervisor. The queue of tracks that wait for a child."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.supervisor.pool_interface import TrackEnded

if TYPE_CHECKING:
    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Finished
    from stemsplit.core.outcome import Attempt, TrackWarning
    from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
    from stemsplit.supervisor.pool_interface import TrackTask


@dataclass(slots=True, kw_only=True, eq=False)
class QueuedTrack:
    """A track with its attempts so far.

    Attributes:
        track_task: the track.
        resources: resources of the next attempt.
        attempts: finished attempts.
        warnings: warnings of all attempts.
        is_cancelled: whether the caller has cancelled it.
    """

    track_task: TrackTask
    resources: Resources
    attempts: list[Attempt] = field(default_factory=list)
    warnings: list[TrackWarning] = field(default_factory=list)
    is_cancelled: bool = False

    def ended(self, diagnosis: ExitDiagnosis, result: Finished | None = None) -> TrackEnded:
        """Return the event for the end of this track."""
        return TrackEnded.of(
            self.track_task,
            diagnosis,
            result,
            warnings=dict.fromkeys(self.warnings),
            attempts=self.attempts,
        )


class TrackQueue:
    """A queue of tracks, first in, first out.

    `add`, `cancel` and `close` may be called from any thread, because they use only atomic
    operations of a deque. All other methods belong to the pool's loop.

    Attributes:
        is_closed: whether no more tracks will be added.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._queued: deque[QueuedTrack] = deque()
        self._rejected: list[QueuedTrack] = []
        self._cancelled: deque[TrackTask] = deque()
        self.is_closed = False

    def __bool__(self) -> bool:
        """Return whether a track is queued."""
        return bool(self._queued)

    def add(self, track: QueuedTrack) -> None:
        """Append a track."""
        self._queued.append(track)

    def requeue(self, track: QueuedTrack) -> None:
        """Put a track back at the head."""
        self._queued.appendleft(track)

    def close(self) -> None:
        """Declare that no more tracks will be added."""
        self.is_closed = True

    @property
    def first(self) -> QueuedTrack:
        """The track at the head; the queue must not be empty."""
        return self._queued[0]

    def pop(self) -> QueuedTrack:
        """Remove and return the track at the head."""
        return self._queued.popleft()

    def reject_first(self) -> None:
        """Remove the track at the head for good."""
        self._rejected.append(self.pop())

    def cancel(self, track_task: TrackTask) -> None:
        """Request the cancellation of a track, queued or running."""
        self._cancelled.append(track_task)

    def pop_cancelled(self) -> tuple[frozenset[int], list[QueuedTrack]]:
        """Remove the cancelled tracks.

        Returns:
            the `id` of every cancelled track task, and the cancelled tracks that were queued.
        """
        cancelled = frozenset(id(self._cancelled.popleft()) for _ in range(len(self._cancelled)))
        if not cancelled:
            return cancelled, []
        queued = [self._queued.popleft() for _ in range(len(self._queued))]
        # Tracks that other threads add meanwhile stay behind these.
        self._queued.extendleft(
            track for track in reversed(queued) if id(track.track_task) not in cancelled
        )
        return cancelled, [track for track in queued if id(track.track_task) in cancelled]

    def unstarted(self) -> list[TrackTask]:
        """Return the queued and the rejected tracks."""
        return [track.track_task for track in (*self._queued, *self._rejected)]

    def rejected(self) -> list[TrackTask]:
        """Return the rejected tracks."""
        return [track.track_task for track in self._rejected]

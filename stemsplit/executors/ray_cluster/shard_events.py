"""Runs in a process of its own. Translates events of a shard's pool into messages."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from stemsplit.core.messages import Hello, Progress, Ready, Separated, Started
from stemsplit.core.outcome import Reason
from stemsplit.executors.ray_cluster import messages
from stemsplit.executors.ray_cluster.shard_connection import HEARTBEAT_SECONDS
from stemsplit.storage.urls import is_remote
from stemsplit.supervisor.pool_interface import (
    Launched,
    LoopIterated,
    MemorySampled,
    MessageReceived,
    Noted,
    Retried,
    TrackEnded,
    Withdrawn,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.supervisor.pool_interface import PoolEvent, TrackTask


class EventTranslator:
    """Translates events into messages, at a limited rate for progress and memory.

    Args:
        task: the task of the shard.
    """

    def __init__(self, task: messages.ShardTask) -> None:
        """Start without tracks."""
        self._progress_interval = task.progress_interval
        self._jobs = task.jobs
        self._tracks: dict[bytes, messages.AssignedTrack] = {}
        self._busy: set[int] = set()
        self._next_message: dict[object, float] = {}

    def add(self, track: messages.AssignedTrack) -> None:
        """Add a track of the shard. From any thread."""
        self._tracks[track.job.source] = track
        self._busy.add(track.track)
        self._next_message.pop(messages.WantsWork, None)

    def track_of(self, track_task: TrackTask) -> messages.AssignedTrack:
        """Return the track of a task."""
        return self._tracks[track_task.job.source]

    def translate(self, event: PoolEvent) -> Iterator[messages.ShardMessage]:
        """Yield the messages for an event, if any."""
        match event:
            case LoopIterated():
                idle = self._jobs - len(self._busy)
                # Repeated if no track comes: the first message may have been lost.
                if idle > 0 and self._is_due(messages.WantsWork, HEARTBEAT_SECONDS):
                    yield messages.WantsWork(tracks=idle)
            case MemorySampled(total_bytes=total_bytes, trees=trees):
                if self._is_due(MemorySampled, self._progress_interval):
                    by_track = {self._tracks[source].track: trees[source] for source in trees}
                    yield messages.MemorySampled(total_bytes=total_bytes, trees=by_track)
            case Noted(text=text):
                yield messages.Noted(text=text)
            case _:
                yield from self._translate_track_event(event, self.track_of(event.track_task).track)

    def _translate_track_event(
        self, event: Launched | MessageReceived | Retried | TrackEnded | Withdrawn, track: int
    ) -> Iterator[messages.ShardMessage]:
        match event:
            case Launched(number=number, resources=resources, ram_cap_bytes=cap):
                yield messages.Launched(
                    track=track, number=number, resources=resources, ram_cap_bytes=cap
                )
            case MessageReceived(message=Progress() as message):
                if self._is_due(track, self._progress_interval):
                    yield messages.MessageReceived(track=track, message=message)
            case MessageReceived(message=Hello() | Started() | Ready() | Separated() as message):
                if isinstance(message, Separated):
                    self._busy.discard(track)  # the next track may start while files are closed
                yield messages.MessageReceived(track=track, message=message)
            case Retried(attempt=attempt, resources=resources):
                self._busy.add(track)
                yield messages.Retried(track=track, attempt=attempt, resources=resources)
            case TrackEnded(outcome=outcome):
                self._busy.discard(track)
                self._next_message.pop(track, None)
                if outcome.reason is not Reason.CANCELLED:
                    source = outcome.job.source
                    is_missing = outcome.reason is Reason.BAD_INPUT and not (
                        is_remote(source) or os.path.exists(source)  # noqa: PTH110 - bytes
                    )
                    yield messages.TrackEnded(
                        track=track, outcome=outcome, is_source_missing=is_missing
                    )
            case Withdrawn():
                yield messages.Withdrawn(track=track)

    def _is_due(self, what: object, interval: float) -> bool:
        """Return whether the last message of that type or track was at least `interval` ago."""
        now = time.monotonic()
        if now < self._next_message.get(what, 0.0):
            return False
        self._next_message[what] = now + interval
        return True

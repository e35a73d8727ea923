"""Runs in the supervisor. Tracks the progress of a batch from the events of its pool."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.messages import Message, Progress, Ready, Separated, Started
from stemsplit.core.outcome import Reason
from stemsplit.core.progress import RunningTrack, Status, Step
from stemsplit.core.text import printable
from stemsplit.core.time_series import TimeSeriesRecorder
from stemsplit.supervisor.pool_interface import (
    Launched,
    MemorySampled,
    MessageReceived,
    Retried,
    TrackEnded,
    Withdrawn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stemsplit.core.time_series import TimeSeries
    from stemsplit.supervisor.pool_interface import PoolEvent


_MEMORY_STEP_SECONDS = 1.0
_MAX_MEMORY_STEPS = 1200


@dataclass(slots=True, kw_only=True)
class _Running:
    number: int
    began: float
    ram_cap_bytes: int
    step: Step = Step.STARTING
    audio_seconds: float = 0.0
    total_seconds: float | None = None
    memory_bytes: int | None = None


class ProgressTracker:
    """Tracks the progress of a batch: tracks, audio, speed, time left and memory.

    Args:
        audio_seconds: length of each track to be separated, by source, estimated where unknown.
        max_ram_bytes: the memory budget.
        predicted_seconds: predicted time of the batch, used until audio has been separated.
        run_seconds: time since the run began, for `memory`.
        clock: returns monotonic seconds.

    Attributes:
        pausing: why no track starts at the moment; empty if tracks may start.
    """

    def __init__(
        self,
        audio_seconds: Mapping[bytes, float],
        *,
        max_ram_bytes: int,
        predicted_seconds: float,
        run_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start measuring."""
        self._left = dict(audio_seconds)
        self._max_ram_bytes = max_ram_bytes
        self._predicted_seconds = predicted_seconds
        self._clock = clock
        self._began = clock()
        self._run_seconds = run_seconds
        self._first_launch: float | None = None
        self._running: dict[bytes, _Running] = {}
        self._done = 0
        self._failed = 0
        self._audio_done = 0.0
        self._memory_bytes: int | None = None
        self._memory = TimeSeriesRecorder(_MEMORY_STEP_SECONDS, _MAX_MEMORY_STEPS)
        self.pausing = ""

    @property
    def memory(self) -> TimeSeries:
        """Memory of all processes together, in bytes, by seconds since the run began."""
        return self._memory.series()

    def update(self, event: PoolEvent) -> None:
        """Update the progress with an event of the pool."""
        match event:
            case Launched(track_task=task, number=number, ram_cap_bytes=cap):
                self._running[task.job.source] = _Running(
                    number=number, began=self._clock(), ram_cap_bytes=cap
                )
                self._first_launch = self._first_launch or self._clock()
                self.pausing = ""
            case MessageReceived(track_task=task, message=message) if (
                task.job.source in self._running
            ):
                _update_running(self._running[task.job.source], message)
            case Retried(track_task=task) | Withdrawn(track_task=task):
                self._running.pop(task.job.source, None)
            case MemorySampled(total_bytes=total, trees=trees):
                self._memory_bytes = total
                self._memory.add(self._run_seconds + self._clock() - self._began, total)
                for source, size in trees.items():
                    if source in self._running:
                        self._running[source].memory_bytes = size
            case TrackEnded(outcome=outcome):
                self._running.pop(outcome.job.source, None)
                self._left.pop(outcome.job.source, None)
                is_done = outcome.reason is Reason.DONE
                self._done += is_done
                self._failed += not is_done
                self._audio_done += outcome.audio_seconds

    def status(self) -> Status:
        """Return the current status."""
        now = self._clock()
        in_progress = sum(track.audio_seconds for track in self._running.values())
        left = max(0.0, sum(self._left.values()) - in_progress)
        separated = self._audio_done + in_progress
        elapsed = 0.0 if self._first_launch is None else now - self._first_launch
        speed = separated / elapsed if separated and elapsed else None
        return Status(
            pid=os.getpid(),
            updated=time.time(),
            seconds=now - self._began,
            done=self._done,
            failed=self._failed,
            left=len(self._left),
            audio_seconds=separated,
            audio_seconds_left=left,
            speed=speed,
            seconds_left=left / speed if speed else self._predicted_seconds,
            memory_bytes=self._memory_bytes,
            max_ram_bytes=self._max_ram_bytes,
            running=tuple(
                RunningTrack(
                    source=printable(source),
                    attempt=track.number,
                    step=track.step,
                    seconds=now - track.began,
                    audio_seconds=track.audio_seconds,
                    total_seconds=track.total_seconds or self._left.get(source),
                    memory_bytes=track.memory_bytes,
                    ram_cap_bytes=track.ram_cap_bytes,
                )
                for source, track in self._running.items()
            ),
            pausing=self.pausing,
        )


def _update_running(running: _Running, message: Message) -> None:
    match message:
        case Started(info=info):
            running.total_seconds = info.seconds
            running.step = Step.LOADING
        case Ready():
            running.step = Step.WORKING
        case Progress(audio_seconds=seconds):
            running.audio_seconds = seconds
            # A child reports progress even while it closes its files.
            running.step = max(running.step, Step.WORKING, key=list(Step).index)
        case Separated():
            running.step = Step.CLOSING

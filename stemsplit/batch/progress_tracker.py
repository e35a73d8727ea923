"""Runs in the supervisor. Counts what a pool tells: how far a batch is, how fast, how long still.

Touches nothing; the clock is a seam.
"""

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


_CURVE_STEP_SECONDS = 1.0
_MOST_CURVE_STEPS = 1200


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
    """Counts what happens in a batch.

    Args:
        audio_seconds: of each track to be done, by its source, guessed where it is not known.
        max_ram_bytes: the budget.
        predicted_seconds: of the whole batch, until something is separated.
        run_seconds: how long ago the run began.
        clock: monotonic seconds.
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
        """Begin now."""
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
        self._memory = TimeSeriesRecorder(_CURVE_STEP_SECONDS, _MOST_CURVE_STEPS)
        self.pausing = ""

    @property
    def memory(self) -> TimeSeries:
        """Give the memory of all processes together, in bytes, by seconds since the run began."""
        return self._memory.curve()

    def take_in(self, event: PoolEvent) -> None:
        """Count an event."""
        match event:
            case Launched(track_task=track_task, number=number, ram_cap_bytes=cap):
                self._running[track_task.job.source] = _Running(
                    number=number, began=self._clock(), ram_cap_bytes=cap
                )
                self._first_launch = self._first_launch or self._clock()
                self.pausing = ""
            case MessageReceived(track_task=track_task, message=message) if (
                track_task.job.source in self._running
            ):
                _hear(self._running[track_task.job.source], message)
            case Retried(track_task=track_task) | Withdrawn(track_task=track_task):
                self._running.pop(track_task.job.source, None)
            case MemorySampled(total_bytes=total, trees=trees):
                self._memory_bytes = total
                self._memory.add(self._run_seconds + self._clock() - self._began, total)
                for source, size in trees.items():
                    if source in self._running:
                        self._running[source].memory_bytes = size
            case TrackEnded(outcome=outcome):
                self._running.pop(outcome.job.source, None)
                self._left.pop(outcome.job.source, None)
                done = outcome.reason is Reason.DONE
                self._done += done
                self._failed += not done
                self._audio_done += outcome.audio_seconds

    def status(self) -> Status:
        """Sum up."""
        now = self._clock()
        under_way = sum(one.audio_seconds for one in self._running.values())
        left = max(0.0, sum(self._left.values()) - under_way)
        separated = self._audio_done + under_way
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
                    attempt=one.number,
                    step=one.step,
                    seconds=now - one.began,
                    audio_seconds=one.audio_seconds,
                    total_seconds=one.total_seconds or self._left.get(source),
                    memory_bytes=one.memory_bytes,
                    ram_cap_bytes=one.ram_cap_bytes,
                )
                for source, one in self._running.items()
            ),
            pausing=self.pausing,
        )


def _hear(running: _Running, message: Message) -> None:
    match message:
        case Started(info=info):
            running.total_seconds = info.seconds
            running.step = Step.LOADING
        case Ready():
            running.step = Step.WORKING
        case Progress(audio_seconds=seconds):
            running.audio_seconds = seconds
            # One that closes its files goes on telling.
            running.step = max(running.step, Step.WORKING, key=list(Step).index)
        case Separated():
            running.step = Step.CLOSING

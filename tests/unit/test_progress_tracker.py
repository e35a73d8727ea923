"""The progress of a batch, counted from the events of its pool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from stemsplit.batch.progress_tracker import ProgressTracker
from stemsplit.core.audio_info import AudioInfo
from stemsplit.core.job import Job
from stemsplit.core.limits import Resources
from stemsplit.core.messages import Progress, Ready, Separated, Started
from stemsplit.core.outcome import Outcome, Reason
from stemsplit.supervisor.pool_interface import (
    Launched,
    MemorySampled,
    MessageReceived,
    Retried,
    TrackEnded,
)

if TYPE_CHECKING:
    from stemsplit.core.messages import Message
    from stemsplit.core.outcome import Attempt
    from stemsplit.supervisor.pool_interface import TrackTask


class _Task:
    def __init__(self, name: str) -> None:
        self.job = Job.of(Path("/", name), {"vocals": Path("/out", name, "vocals.wav")})


def _track_task(name: str) -> TrackTask:
    return cast("TrackTask", _Task(name))


A, B = _track_task("a"), _track_task("b")


def _ended(track_task: TrackTask, reason: Reason, audio_seconds: float) -> TrackEnded:
    outcome = Outcome(job=track_task.job, reason=reason, audio_seconds=audio_seconds)
    return TrackEnded(track_task=track_task, outcome=outcome)


def test_counts_speed_and_remaining_audio() -> None:
    """Progress of running tracks counts; the speed is measured from the first start."""
    now = [0.0]
    tracker = ProgressTracker(
        {b"/a": 100.0, b"/b": 300.0},
        max_ram_bytes=9,
        predicted_seconds=40.0,
        clock=lambda: now[0],
    )
    status = tracker.status()
    assert (status.left, status.audio_seconds_left, status.speed) == (2, 400.0, None)
    assert status.seconds_left == 40.0, "the prediction, until audio has been separated"
    now[0] = 5.0
    tracker.update(Launched(track_task=A, number=1, resources=Resources(), ram_cap_bytes=7))
    tracker.update(Launched(track_task=B, number=1, resources=Resources(), ram_cap_bytes=7))
    info = AudioInfo(
        format="WAV", subtype="PCM_16", sample_rate=44_100, channels=2, frames=44_100 * 110
    )
    tracker.update(MessageReceived(track_task=A, message=Started(info=info)))
    tracker.update(MessageReceived(track_task=B, message=Progress(audio_seconds=100.0)))
    tracker.update(MemorySampled(total_bytes=8, trees={b"/a": 3, b"/b": 4}))
    now[0] = 15.0
    tracker.update(_ended(A, Reason.DONE, 100.0))
    status = tracker.status()
    assert (status.done, status.failed, status.left) == (1, 0, 1)
    assert (status.audio_seconds, status.audio_seconds_left) == (200.0, 200.0)
    assert status.speed == pytest.approx(20.0)
    assert status.seconds_left == pytest.approx(10.0)
    assert (status.memory_bytes, status.max_ram_bytes) == (8, 9)
    (running,) = status.running
    assert (running.source, running.attempt, running.seconds) == ("/b", 1, 10.0)
    assert (running.audio_seconds, running.total_seconds) == (100.0, 300.0)
    assert running.memory_bytes == 4
    tracker.update(Retried(track_task=B, attempt=cast("Attempt", None), resources=Resources()))
    assert tracker.status().running == ()
    assert tracker.status().audio_seconds_left == 300.0, "a failed attempt does not count"
    tracker.update(Launched(track_task=B, number=2, resources=Resources(), ram_cap_bytes=7))
    assert tracker.status().running[0].attempt == 2
    tracker.update(_ended(B, Reason.STALLED, 0.0))
    status = tracker.status()
    assert (status.done, status.failed, status.left, status.audio_seconds_left) == (1, 1, 0, 0.0)


def test_a_pause_ends_with_the_next_start() -> None:
    """Its reason is shown until then."""
    tracker = ProgressTracker({b"/a": 1.0}, max_ram_bytes=9, predicted_seconds=1.0)
    tracker.pausing = "on battery"
    assert tracker.status().pausing == "on battery"
    tracker.update(Launched(track_task=A, number=1, resources=Resources(), ram_cap_bytes=7))
    assert tracker.status().pausing == ""


def test_the_step_of_each_child_is_reported() -> None:
    """The steps lead from the start to the closing of the files, and never back."""
    tracker = ProgressTracker({b"/a": 1.0}, max_ram_bytes=9, predicted_seconds=1.0)
    tracker.update(Launched(track_task=A, number=1, resources=Resources(), ram_cap_bytes=7))
    steps = [tracker.status().running[0].step]
    info = AudioInfo(format="WAV", subtype="PCM_16", sample_rate=8_000, channels=1, frames=8_000)
    messages: list[Message] = [
        Started(info=info),
        Ready(),
        Progress(audio_seconds=1.0),
        Separated(),
        Progress(audio_seconds=1.0),
    ]
    for message in messages:
        tracker.update(MessageReceived(track_task=A, message=message))
        steps.append(tracker.status().running[0].step)
    assert steps == ["starting", "loading", "working", "working", "closing", "closing"]
    assert tracker.status().running[0].ram_cap_bytes == 7


def test_the_memory_of_all_processes_is_recorded() -> None:
    """The report shows it as a time series."""
    now = [0.0]
    tracker = ProgressTracker({}, max_ram_bytes=9, predicted_seconds=1.0, clock=lambda: now[0])
    for total in (5, 8, 6):
        tracker.update(MemorySampled(total_bytes=total, trees={}))
        now[0] += 0.6
    assert (tracker.memory.step, tracker.memory.values) == (1.0, (8, 6))

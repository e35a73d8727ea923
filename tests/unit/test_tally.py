"""How far a batch is, counted from what a pool tells; and the file that shows it to others."""

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
from stemsplit.journal import status_file
from stemsplit.journal.layout import OutputLayout
from stemsplit.journal.status_file import StatusFile
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


class _Work:
    def __init__(self, name: str) -> None:
        self.job = Job.of(Path("/", name), {"vocals": Path("/out", name, "vocals.wav")})


def _track_task(name: str) -> TrackTask:
    return cast("TrackTask", _Work(name))


A, B = _track_task("a"), _track_task("b")


def _settled(track_task: TrackTask, reason: Reason, audio_seconds: float) -> TrackEnded:
    outcome = Outcome(job=track_task.job, reason=reason, audio_seconds=audio_seconds)
    return TrackEnded(track_task=track_task, outcome=outcome)


def test_counts_speed_and_what_is_left() -> None:
    """What is under way counts as separated; speed is from the first start on."""
    now = [0.0]
    tracker = ProgressTracker(
        {b"/a": 100.0, b"/b": 300.0},
        max_ram_bytes=9,
        predicted_seconds=40.0,
        clock=lambda: now[0],
    )
    status = tracker.status()
    assert (status.left, status.audio_seconds_left, status.speed) == (2, 400.0, None)
    assert status.seconds_left == 40.0, "as predicted, until something is separated"
    now[0] = 5.0
    tracker.take_in(Launched(track_task=A, number=1, resources=Resources(), ram_cap_bytes=7))
    tracker.take_in(Launched(track_task=B, number=1, resources=Resources(), ram_cap_bytes=7))
    info = AudioInfo(
        format="WAV", subtype="PCM_16", sample_rate=44_100, channels=2, frames=44_100 * 110
    )
    tracker.take_in(MessageReceived(track_task=A, message=Started(info=info)))
    tracker.take_in(MessageReceived(track_task=B, message=Progress(audio_seconds=100.0)))
    tracker.take_in(MemorySampled(total_bytes=8, trees={b"/a": 3, b"/b": 4}))
    now[0] = 15.0
    tracker.take_in(_settled(A, Reason.DONE, 100.0))
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
    tracker.take_in(Retried(track_task=B, attempt=cast("Attempt", None), resources=Resources()))
    assert tracker.status().running == ()
    assert tracker.status().audio_seconds_left == 300.0, "an attempt that failed has done nothing"
    tracker.take_in(Launched(track_task=B, number=2, resources=Resources(), ram_cap_bytes=7))
    assert tracker.status().running[0].attempt == 2
    tracker.take_in(_settled(B, Reason.STALLED, 0.0))
    status = tracker.status()
    assert (status.done, status.failed, status.left, status.audio_seconds_left) == (1, 1, 0, 0.0)


def test_a_pause_ends_with_the_next_start() -> None:
    """Its reason is shown until then."""
    tracker = ProgressTracker({b"/a": 1.0}, max_ram_bytes=9, predicted_seconds=1.0)
    tracker.pausing = "on battery"
    assert tracker.status().pausing == "on battery"
    tracker.take_in(Launched(track_task=A, number=1, resources=Resources(), ram_cap_bytes=7))
    assert tracker.status().pausing == ""


def test_the_board_is_replaced_as_a_whole_and_not_too_often(tmp_path: Path) -> None:
    """A reader finds the last status or none; a disk that takes nothing is no error."""
    now = [0.0]
    state = OutputLayout(tmp_path)
    state.make()
    path = state.status
    shown = StatusFile(state, lambda: now[0])
    tracker = ProgressTracker({b"/a": 1.0}, max_ram_bytes=9, predicted_seconds=1.0)
    assert status_file.read(path) is None
    shown.show(tracker.status)
    first = status_file.read(path)
    assert first is not None
    tracker.take_in(_settled(A, Reason.DONE, 1.0))
    shown.show(tracker.status)
    assert status_file.read(path) == first, "not again at once"
    now[0] = 2.0
    shown.show(tracker.status)
    second = status_file.read(path)
    assert second is not None
    assert second.done == 1
    shown.close()
    assert list(state.folder.iterdir()) == []
    path.write_text("{half")
    assert status_file.read(path) is None
    StatusFile(OutputLayout(tmp_path / "absent")).show(tracker.status)


def test_tells_what_each_child_is_at() -> None:
    """From the start to the files' closing; it does not go back when more is told meanwhile."""
    tracker = ProgressTracker({b"/a": 1.0}, max_ram_bytes=9, predicted_seconds=1.0)
    tracker.take_in(Launched(track_task=A, number=1, resources=Resources(), ram_cap_bytes=7))
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
        tracker.take_in(MessageReceived(track_task=A, message=message))
        steps.append(tracker.status().running[0].step)
    assert steps == ["starting", "loading", "working", "working", "closing", "closing"]
    assert tracker.status().running[0].ram_cap_bytes == 7


def test_keeps_the_memory_of_the_whole_over_time() -> None:
    """For the report."""
    now = [0.0]
    tracker = ProgressTracker({}, max_ram_bytes=9, predicted_seconds=1.0, clock=lambda: now[0])
    for total in (5, 8, 6):
        tracker.take_in(MemorySampled(total_bytes=total, trees={}))
        now[0] += 0.6
    assert (tracker.memory.step, tracker.memory.values) == (1.0, (8, 6))

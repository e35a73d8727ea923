"""The status file, which other processes read."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from stemsplit.batch.progress_tracker import ProgressTracker
from stemsplit.core.job import Job
from stemsplit.core.outcome import Outcome, Reason
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.journal.status_file import StatusFile, read_status
from stemsplit.supervisor.pool_interface import TrackEnded, TrackTask


def test_the_status_file_is_replaced_atomically_and_not_too_often(tmp_path: Path) -> None:
    """A reader finds a complete status or none; a folder that is missing is not an error."""
    now = [0.0]
    layout = OutputLayout(tmp_path)
    layout.make_folder()
    path = layout.status
    status_file = StatusFile(layout, lambda: now[0])
    tracker = ProgressTracker({b"/a": 1.0}, max_ram_bytes=9, predicted_seconds=1.0)
    assert read_status(path) is None
    status_file.update(tracker.status)
    first = read_status(path)
    assert first is not None
    job = Job.of(Path("/a"), {"vocals": Path("/out/a/vocals.wav")})
    outcome = Outcome(job=job, reason=Reason.DONE, audio_seconds=1.0)
    tracker.update(TrackEnded(track_task=cast("TrackTask", None), outcome=outcome))
    status_file.update(tracker.status)
    assert read_status(path) == first, "an update is not due yet"
    now[0] = 2.0
    status_file.update(tracker.status)
    second = read_status(path)
    assert second is not None
    assert second.done == 1
    status_file.close()
    assert list(layout.folder.iterdir()) == []
    path.write_text("{half")
    assert read_status(path) is None
    StatusFile(OutputLayout(tmp_path / "absent")).update(tracker.status)

"""The gates: deadline, battery power, disk space."""

from __future__ import annotations

import datetime as dt
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, cast

import psutil
import pytest

from stemsplit.core.errors import UsageError
from stemsplit.core.job import Job
from stemsplit.core.limits import Resources
from stemsplit.core.outcome import Reason
from stemsplit.core.units import parse_clock_time
from stemsplit.executors.keep_awake import keep_awake
from stemsplit.executors.start_gates import (
    CombinedGate,
    DeadlineGate,
    DiskGate,
    PowerGate,
    next_time,
    on_battery,
)
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
from stemsplit.supervisor.pool_interface import GateDecision

if TYPE_CHECKING:
    from typing import Self

    from stemsplit.supervisor.pool_interface import TrackTask

MEBIBYTE = 2**20


class _Task:
    """A track with a predicted duration, a predicted size, and the bytes written so far."""

    def __init__(self, seconds: float = 0.0, size: int = 0, written: int = 0) -> None:
        self.seconds, self.size, self.written = seconds, size, written
        self.job = Job.of(Path("/song.wav"), {"vocals": Path("/out/song/vocals.wav")})


def _track_task(seconds: float = 0.0, size: int = 0, written: int = 0) -> TrackTask:
    return cast("TrackTask", _Task(seconds, size, written))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-01 22:30", "2026-03-02 07:00"),
        ("2026-03-01 06:59", "2026-03-01 07:00"),
        ("2026-03-01 07:00", "2026-03-02 07:00"),
        ("2026-12-31 23:59", "2027-01-01 07:00"),
    ],
)
def test_the_next_time_of_day(now: str, expected: str) -> None:
    """It is tomorrow if it has passed today."""
    moment = next_time(7, 0, dt.datetime.fromisoformat(now))
    assert moment == dt.datetime.fromisoformat(expected)


@pytest.mark.parametrize("text", ["24:00", "7", "07:60", "7pm", "", "-1:00", "07:00:00"])
def test_invalid_times(text: str) -> None:
    """The error shows the format."""
    with pytest.raises(UsageError, match="time of day"):
        parse_clock_time(text, "until")


def test_valid_times() -> None:
    """The leading zero is optional."""
    assert parse_clock_time("07:00", "until") == (7, 0)
    assert parse_clock_time(" 7:05 ", "until") == (7, 5)


def test_a_deadline_rejects_tracks_that_end_too_late() -> None:
    """A shorter track may still fit after a longer one."""
    now = [100.0]
    gate = DeadlineGate(
        1000.0, lambda track_task, _resources: cast("_Task", track_task).seconds, lambda: now[0]
    )
    assert gate(_track_task(seconds=900), Resources(), []) is GateDecision.GO
    assert gate(_track_task(seconds=901), Resources(), []) is GateDecision.NEVER
    now[0] = 950.0
    assert gate(_track_task(seconds=900), Resources(), []) is GateDecision.NEVER
    assert gate(_track_task(seconds=50), Resources(), []) is GateDecision.GO


def test_on_battery_no_track_starts_until_power_is_restored() -> None:
    """Each change is reported once, and the battery is not checked for every track."""
    notes: list[str] = []
    checks: list[float] = []
    now, plugged = [0.0], [True]

    def is_on_battery() -> bool:
        checks.append(now[0])
        return not plugged[0]

    gate = PowerGate(notes.append, notes.append, is_on_battery, lambda: now[0])
    assert gate(_track_task(), Resources(), []) is GateDecision.GO
    plugged[0] = False
    assert gate(_track_task(), Resources(), []) is GateDecision.GO, "not checked again at once"
    for now[0] in (10.0, 11.0, 20.0):
        assert gate(_track_task(), Resources(), []) is GateDecision.WAIT
    plugged[0] = True
    now[0] = 30.0
    assert gate(_track_task(), Resources(), []) is GateDecision.GO
    assert [text.split(":")[0] for text in notes] == ["on battery", "power restored"]
    assert checks == [0.0, 10.0, 20.0, 30.0]


@pytest.mark.parametrize(("plugged", "expected"), [(True, False), (False, True), (None, False)])
def test_the_state_of_the_battery(
    monkeypatch: pytest.MonkeyPatch, *, plugged: bool | None, expected: bool
) -> None:
    """An unknown state counts as plugged in."""
    battery = types.SimpleNamespace(percent=50, power_plugged=plugged)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    assert on_battery() is expected
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None)
    assert not on_battery()
    monkeypatch.delattr(psutil, "sensors_battery")
    assert not on_battery(), "some systems lack this function"


def _disk_gate(free: int, total: int = 1000 * MEBIBYTE) -> DiskGate:
    return DiskGate(
        Path("/out"),
        lambda track_task: cast("_Task", track_task).size,
        lambda track_task: cast("_Task", track_task).written,
        lambda _folder: (total, free),
    )


def test_space_is_reserved_for_running_tracks() -> None:
    """Bytes that they have written are not counted twice."""
    running = [_track_task(size=100 * MEBIBYTE, written=40 * MEBIBYTE)]
    gate = _disk_gate(free=200 * MEBIBYTE)  # 20 MiB are the reserve
    assert gate(_track_task(size=120 * MEBIBYTE), Resources(), running) is GateDecision.GO
    assert gate(_track_task(size=121 * MEBIBYTE), Resources(), running) is GateDecision.WAIT


def test_a_disk_without_space_ends_the_batch() -> None:
    """The message names the free and the needed space."""
    decision = _disk_gate(free=100 * MEBIBYTE)(_track_task(size=90 * MEBIBYTE), Resources(), [])
    assert isinstance(decision, ExitDiagnosis)
    assert decision.reason is Reason.DISK_FULL
    assert "100 MiB left" in decision.message
    assert "about 90 MiB" in decision.message


def test_a_missing_disk_ends_the_batch() -> None:
    """It may be a network disk that was unmounted."""

    def missing(_folder: Path) -> tuple[int, int]:
        raise FileNotFoundError(2, "No such file or directory")

    decision = DiskGate(Path("/out"), lambda _track_task: 0, lambda _track_task: 0, missing)(
        _track_task(), Resources(), []
    )
    assert isinstance(decision, ExitDiagnosis)
    assert decision.reason is Reason.UNWRITABLE
    assert "cannot be written" in decision.message


def test_the_first_closed_gate_decides() -> None:
    """The others are not called."""

    def closed(_track_task: TrackTask, _resources: Resources, _running: object) -> GateDecision:
        return GateDecision.NEVER

    def not_called(_track_task: TrackTask, _resources: Resources, _running: object) -> GateDecision:
        raise AssertionError

    assert (
        CombinedGate([_disk_gate(2**40), closed, not_called])(_track_task(), Resources(), [])
        is GateDecision.NEVER
    )
    assert CombinedGate([])(_track_task(), Resources(), []) is GateDecision.GO


@pytest.mark.parametrize("active", [True, False])
def test_a_failure_to_keep_the_machine_awake_is_reported(
    monkeypatch: pytest.MonkeyPatch, *, active: bool
) -> None:
    """The batch continues."""

    class Mode:
        def __init__(self) -> None:
            self.active = active

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_exception: object) -> None:
            pass

    keep = types.SimpleNamespace(running=lambda on_fail: Mode() if on_fail == "pass" else None)
    monkeypatch.setitem(sys.modules, "wakepy", types.SimpleNamespace(keep=keep))
    notes: list[str] = []
    with keep_awake(notes.append):
        pass
    assert bool(notes) is not active


def test_keeping_awake_needs_a_desktop_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, the real library fails on Linux."""
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    notes: list[str] = []
    with keep_awake(notes.append):
        pass
    if sys.platform == "linux":
        assert "kept awake" in notes[0]

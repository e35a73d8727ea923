"""Time, power, room: what keeps a track from being started."""

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
from stemsplit.executors.gates import Gates, Power, Room, Until, awake, next_time, on_battery
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
from stemsplit.supervisor.pool_interface import GateDecision

if TYPE_CHECKING:
    from typing import Self

    from stemsplit.supervisor.pool_interface import TrackTask

MEBIBYTE = 2**20


class _Work:
    """A track of so many seconds and bytes."""

    def __init__(self, seconds: float = 0.0, size: int = 0, written: int = 0) -> None:
        self.seconds, self.size, self.written = seconds, size, written
        self.job = Job.of(Path("/song.wav"), {"vocals": Path("/out/song/vocals.wav")})


def _track_task(seconds: float = 0.0, size: int = 0, written: int = 0) -> TrackTask:
    return cast("TrackTask", _Work(seconds, size, written))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-01 22:30", "2026-03-02 07:00"),
        ("2026-03-01 06:59", "2026-03-01 07:00"),
        ("2026-03-01 07:00", "2026-03-02 07:00"),
        ("2026-12-31 23:59", "2027-01-01 07:00"),
    ],
)
def test_a_time_of_the_day_is_the_next_one(now: str, expected: str) -> None:
    """Tomorrow's, if today's has passed."""
    moment = next_time(7, 0, dt.datetime.fromisoformat(now))
    assert moment == dt.datetime.fromisoformat(expected)


@pytest.mark.parametrize("text", ["24:00", "7", "07:60", "7pm", "", "-1:00", "07:00:00"])
def test_times_that_are_none(text: str) -> None:
    """Each gets a sentence."""
    with pytest.raises(UsageError, match="time of the day"):
        parse_clock_time(text, "until")


def test_clock_times() -> None:
    """With or without a leading zero."""
    assert parse_clock_time("07:00", "until") == (7, 0)
    assert parse_clock_time(" 7:05 ", "until") == (7, 5)


def test_until_lets_through_what_ends_in_time() -> None:
    """A shorter track may still fit after a longer one did not."""
    now = [100.0]
    gate = Until(
        1000.0, lambda track_task, _resources: cast("_Work", track_task).seconds, lambda: now[0]
    )
    assert gate(_track_task(seconds=900), Resources(), []) is GateDecision.GO
    assert gate(_track_task(seconds=901), Resources(), []) is GateDecision.NEVER
    now[0] = 950.0
    assert gate(_track_task(seconds=900), Resources(), []) is GateDecision.NEVER
    assert gate(_track_task(seconds=50), Resources(), []) is GateDecision.GO


def test_on_battery_nothing_is_started_until_the_power_is_back() -> None:
    """Told once each, and the battery is not asked for every start."""
    told: list[str] = []
    asked: list[float] = []
    now, plugged = [0.0], [True]

    def is_on_battery() -> bool:
        asked.append(now[0])
        return not plugged[0]

    gate = Power(told.append, told.append, is_on_battery, lambda: now[0])
    assert gate(_track_task(), Resources(), []) is GateDecision.GO
    plugged[0] = False
    assert gate(_track_task(), Resources(), []) is GateDecision.GO, "not asked again at once"
    for now[0] in (10.0, 11.0, 20.0):
        assert gate(_track_task(), Resources(), []) is GateDecision.WAIT
    plugged[0] = True
    now[0] = 30.0
    assert gate(_track_task(), Resources(), []) is GateDecision.GO
    assert [text.split(":")[0] for text in told] == ["on battery", "the power is back"]
    assert asked == [0.0, 10.0, 20.0, 30.0]


@pytest.mark.parametrize(("plugged", "expected"), [(True, False), (False, True), (None, False)])
def test_the_battery_is_asked(
    monkeypatch: pytest.MonkeyPatch, *, plugged: bool | None, expected: bool
) -> None:
    """One that does not say whether it is plugged in counts as plugged in."""
    battery = types.SimpleNamespace(percent=50, power_plugged=plugged)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    assert on_battery() is expected
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None)
    assert not on_battery()
    monkeypatch.delattr(psutil, "sensors_battery")
    assert not on_battery(), "some systems have no such thing"


def _room(free: int, total: int = 1000 * MEBIBYTE) -> Room:
    return Room(
        Path("/out"),
        lambda track_task: cast("_Work", track_task).size,
        lambda track_task: cast("_Work", track_task).written,
        lambda _folder: (total, free),
    )


def test_room_is_kept_for_what_runs() -> None:
    """What it has written already is no longer free, and is not counted twice."""
    running = [_track_task(size=100 * MEBIBYTE, written=40 * MEBIBYTE)]
    gate = _room(free=200 * MEBIBYTE)  # 20 MiB of it are the reserve
    assert gate(_track_task(size=120 * MEBIBYTE), Resources(), running) is GateDecision.GO
    assert gate(_track_task(size=121 * MEBIBYTE), Resources(), running) is GateDecision.WAIT


def test_a_disk_without_room_ends_the_batch_before_it_is_full() -> None:
    """In words that say how much there is and how much it takes."""
    answer = _room(free=100 * MEBIBYTE)(_track_task(size=90 * MEBIBYTE), Resources(), [])
    assert isinstance(answer, ExitDiagnosis)
    assert answer.reason is Reason.DISK_FULL
    assert "100 MiB left" in answer.message
    assert "about 90 MiB" in answer.message


def test_a_disk_that_is_gone_ends_the_batch_in_words() -> None:
    """A network disk that was unmounted."""

    def gone(_folder: Path) -> tuple[int, int]:
        raise FileNotFoundError(2, "No such file or directory")

    answer = Room(Path("/out"), lambda _track_task: 0, lambda _track_task: 0, gone)(
        _track_task(), Resources(), []
    )
    assert isinstance(answer, ExitDiagnosis)
    assert answer.reason is Reason.UNWRITABLE
    assert "cannot be written" in answer.message


def test_the_first_gate_that_does_not_open_decides() -> None:
    """The others are not even asked."""

    def closed(_track_task: TrackTask, _resources: Resources, _running: object) -> GateDecision:
        return GateDecision.NEVER

    def unasked(_track_task: TrackTask, _resources: Resources, _running: object) -> GateDecision:
        raise AssertionError

    assert (
        Gates([_room(2**40), closed, unasked])(_track_task(), Resources(), []) is GateDecision.NEVER
    )
    assert Gates([])(_track_task(), Resources(), []) is GateDecision.GO


@pytest.mark.parametrize("active", [True, False])
def test_where_a_machine_cannot_be_kept_awake_it_is_told(
    monkeypatch: pytest.MonkeyPatch, *, active: bool
) -> None:
    """And the batch goes on all the same."""

    class Mode:
        def __init__(self) -> None:
            self.active = active

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_exception: object) -> None:
            pass

    keep = types.SimpleNamespace(running=lambda on_fail: Mode() if on_fail == "pass" else None)
    monkeypatch.setitem(sys.modules, "wakepy", types.SimpleNamespace(keep=keep))
    told: list[str] = []
    with awake(told.append):
        pass
    assert bool(told) is not active


def test_keeping_awake_without_a_desktop_is_a_plain_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real library, where there is no session to ask."""
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    told: list[str] = []
    with awake(told.append):
        pass
    if sys.platform == "linux":
        assert "kept awake" in told[0]

"""Runs in the supervisor. Decides when tracks may start: deadline, battery power, disk space.

Each gate checks one of them (`stemsplit.supervisor.pool_interface.Gate`); `make_gate` combines
those that a batch needs.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from stemsplit.core.errors import FREE_DISK_SPACE
from stemsplit.core.outcome import Reason
from stemsplit.core.text import mebibytes, quoted
from stemsplit.executors.track_task import LocalTrackTask
from stemsplit.storage.urls import is_remote
from stemsplit.storage.write_errors import write_error
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
from stemsplit.supervisor.pool_interface import GateDecision

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from stemsplit.core.limits import Resources
    from stemsplit.executors.base import ExecutionRequest
    from stemsplit.supervisor.pool_interface import Gate, TrackTask
    from stemsplit.supervisor.prediction import Forecast

_POWER_SECONDS = 5.0
"""Interval between two checks of the battery."""

RESERVE_SHARE = 0.02
"""Share of the output folder's disk that stays free."""

MAX_RESERVE_BYTES = 2**30
"""Upper limit of that share."""


def next_time(hour: int, minute: int, now: dt.datetime) -> dt.datetime:
    """Return the next moment at which a wall clock shows `hour` and `minute`.

    Args:
        hour: 0 to 23.
        minute: 0 to 59.
        now: the local time, without a time zone.
    """
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today > now else today + dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CombinedGate:
    """Combines several gates: the first in order that does not answer GO decides."""

    gates: Sequence[Gate]

    def __call__(
        self, track_task: TrackTask, resources: Resources, running: Collection[TrackTask]
    ) -> GateDecision | ExitDiagnosis:
        """See `stemsplit.supervisor.pool_interface.Gate`."""
        for gate in self.gates:
            decision = gate(track_task, resources, running)
            if decision is not GateDecision.GO:
                return decision
        return GateDecision.GO


@dataclass(frozen=True, slots=True)
class DeadlineGate:
    """Rejects tracks that are predicted to end after a deadline.

    Attributes:
        deadline: in seconds since 1970, because wall clock time passes while a laptop sleeps.
        predict: returns the duration of an attempt in seconds, including the start of its child.
        clock: seconds since 1970.
    """

    deadline: float
    predict: Callable[[TrackTask, Resources], float]
    clock: Callable[[], float] = time.time

    def __call__(
        self, track_task: TrackTask, resources: Resources, _running: Collection[TrackTask]
    ) -> GateDecision:
        """See `stemsplit.supervisor.pool_interface.Gate`."""
        fits = self.clock() + self.predict(track_task, resources) <= self.deadline
        return GateDecision.GO if fits else GateDecision.NEVER


def on_battery() -> bool:
    """Return whether this machine runs on battery power; False if it has no battery."""
    with contextlib.suppress(AttributeError, OSError, NotImplementedError):
        battery = psutil.sensors_battery()
        return battery is not None and battery.power_plugged is False
    return False


@dataclass(slots=True)
class PowerGate:
    """Holds all tracks back while the machine runs on battery power.

    Attributes:
        on_pause: called with a message for the user when that begins.
        on_resume: called with a message for the user when that ends.
        is_on_battery: returns the state of the machine.
        clock: monotonic seconds.
    """

    on_pause: Callable[[str], None]
    on_resume: Callable[[str], None]
    is_on_battery: Callable[[], bool] = on_battery
    clock: Callable[[], float] = time.monotonic
    _next_check: float = field(default=-math.inf, init=False)
    _is_paused: bool = field(default=False, init=False)

    def __call__(
        self, _track_task: TrackTask, _resources: Resources, _running: Collection[TrackTask]
    ) -> GateDecision:
        """See `stemsplit.supervisor.pool_interface.Gate`."""
        if self.clock() >= self._next_check:
            self._next_check = self.clock() + _POWER_SECONDS
            was_paused, self._is_paused = self._is_paused, self.is_on_battery()
            if self._is_paused and not was_paused:
                self.on_pause("on battery: no new tracks until power is restored")
            if was_paused and not self._is_paused:
                self.on_resume("power restored: continuing")
        return GateDecision.WAIT if self._is_paused else GateDecision.GO


def _bytes_written(track_task: TrackTask) -> int:
    return track_task.written_bytes() if isinstance(track_task, LocalTrackTask) else 0


def _disk_usage(folder: Path) -> tuple[int, int]:
    usage = shutil.disk_usage(folder)
    return usage.total, usage.free


@dataclass(frozen=True, slots=True)
class DiskGate:
    """Starts a track only if its stems fit on the output folder's disk; otherwise ends the batch.

    Space is reserved for what running tracks have still to write. A track that lacks only that
    space waits, because running tracks may turn out smaller.

    Attributes:
        output: the output folder.
        predict: returns the size of a track's stems in bytes.
        written: returns the bytes that a running track has written so far.
        usage: returns the size and the free space of a folder's disk, in bytes.
    """

    output: Path
    predict: Callable[[TrackTask], int]
    written: Callable[[TrackTask], int] = _bytes_written
    usage: Callable[[Path], tuple[int, int]] = _disk_usage

    def __call__(
        self, track_task: TrackTask, _resources: Resources, running: Collection[TrackTask]
    ) -> GateDecision | ExitDiagnosis:
        """See `stemsplit.supervisor.pool_interface.Gate`."""
        try:
            total, free = self.usage(self.output)
        except OSError as error:
            return ExitDiagnosis.of(write_error(self.output, error))
        reserved = sum(max(0, self.predict(task) - self.written(task)) for task in running)
        usable = free - round(min(RESERVE_SHARE * total, MAX_RESERVE_BYTES))
        needed = self.predict(track_task)
        if needed <= usable - reserved:
            return GateDecision.GO
        if running:
            return GateDecision.WAIT
        return ExitDiagnosis(
            reason=Reason.DISK_FULL,
            message=f"The disk of {quoted(self.output)} has {mebibytes(free)} left, but the stems "
            f"of {quoted(track_task.job.source_path.name)} need about {mebibytes(needed)}.",
            remedy=FREE_DISK_SPACE,
        )


def make_gate(
    request: ExecutionRequest,
    forecast: Forecast,
    *,
    audio_seconds: Callable[[TrackTask], float],
    stem_bytes: Callable[[TrackTask], int],
    power: PowerGate | None = None,
) -> Gate:
    """Return the gate of a batch on this machine, of a batch on a cluster, or of a shard.

    Args:
        request: the batch or shard. Only a batch on a cluster does not check the disk: its shards
            do.
        forecast: predicts the duration of an attempt.
        audio_seconds: returns the length of a track's audio, estimated where it is unknown.
        stem_bytes: returns the size of a track's stems.
        power: the gate for battery power; None to ignore the battery.
    """
    gates: list[Gate] = []
    if request.deadline is not None:
        gates.append(
            DeadlineGate(
                request.deadline,
                lambda task, resources: forecast.seconds(audio_seconds(task), resources),
            )
        )
    if power is not None:
        gates.append(power)
    if request.cluster is None and not is_remote(request.output):
        gates.append(DiskGate(request.output, stem_bytes))
    return CombinedGate(gates)

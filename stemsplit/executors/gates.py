"""Runs in the supervisor. What keeps a track from being started but memory: time, power, room.

Each gate answers for one of them (`stemsplit.supervisor.pool_interface.Gate`); `Gates` asks them
in turn.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import time
from typing import TYPE_CHECKING

import psutil

from stemsplit.core.outcome import Reason
from stemsplit.core.text import mebibytes, quoted
from stemsplit.storage.publish import refused
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
from stemsplit.supervisor.pool_interface import GateDecision

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from stemsplit.core.limits import Resources
    from stemsplit.supervisor.pool_interface import Gate, TrackTask

_POWER_SECONDS = 5.0
"""So often the battery is asked."""

RESERVE_SHARE = 0.02
MOST_RESERVE_BYTES = 2**30
"""Of the output folder's disk: is left free."""


def next_time(hour: int, minute: int, now: dt.datetime) -> dt.datetime:
    """Give the next moment at which the clock on the wall shows this.

    Args:
        hour: as the clock shows it, 0 to 23.
        minute: likewise.
        now: the local time, without a time zone.
    """
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today > now else today + dt.timedelta(days=1)


class Gates:
    """Asks several gates; the first that does not let a track through decides."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        """Ask `gates` in this order."""
        self._gates = gates

    def __call__(
        self, track_task: TrackTask, resources: Resources, running: Collection[TrackTask]
    ) -> GateDecision | ExitDiagnosis:
        """See `stemsplit.supervisor.pool_interface.Gate`."""
        for gate in self._gates:
            answer = gate(track_task, resources, running)
            if answer is not GateDecision.GO:
                return answer
        return GateDecision.GO


class Until:
    """Lets through what is predicted to end before a moment.

    Args:
        deadline: in seconds since 1970: the clock on the wall goes on while a laptop sleeps.
        predict: the seconds that a track takes, from its child's start to its end.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        deadline: float,
        predict: Callable[[TrackTask, Resources], float],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep the seams."""
        self._deadline = deadline
        self._predict = predict
        self._clock = clock

    def __call__(
        self, track_task: TrackTask, resources: Resources, _running: Collection[TrackTask]
    ) -> GateDecision:
        """See `stemsplit.supervisor.pool_interface.Gate`."""
        fits = self._clock() + self._predict(track_task, resources) <= self._deadline
        return GateDecision.GO if fits else GateDecision.NEVER


def on_battery() -> bool:
    """Tell whether this machine runs on its battery; one without a battery does not."""
    with contextlib.suppress(AttributeError, OSError, NotImplementedError):
        battery = psutil.sensors_battery()
        return battery is not None and battery.power_plugged is False
    return False


class Power:
    """Lets nothing through while the machine runs on its battery.

    Args:
        pausing: is told when that begins.
        going_on: is told when that ends.
        is_on_battery: asks the machine.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        pausing: Callable[[str], None],
        going_on: Callable[[str], None],
        is_on_battery: Callable[[], bool] = on_battery,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing yet."""
        self._tell_pausing = pausing
        self._tell_going_on = going_on
        self._is_on_battery = is_on_battery
        self._clock = clock
        self._next = clock()
        self._pausing = False

    def __call__(
        self, _track_task: TrackTask, _resources: Resources, _running: Collection[TrackTask]
    ) -> GateDecision:
        """See `stemsplit.supervisor.pool_interface.Gate`."""
        if self._clock() >= self._next:
            self._next = self._clock() + _POWER_SECONDS
            before, self._pausing = self._pausing, self._is_on_battery()
            if self._pausing and not before:
                self._tell_pausing("on battery: nothing is started until the power is back")
            if before and not self._pausing:
                self._tell_going_on("the power is back: going on")
        return GateDecision.WAIT if self._pausing else GateDecision.GO


class Room:
    """Lets through what the output folder's disk has room for, and ends the batch otherwise.

    What runs has its room kept. A track waits while only that is in its way: what is running may
    turn out smaller.

    Args:
        output: the folder.
        predict: the bytes that a track's stems will take.
        written: the bytes that a running track has written so far.
        usage: asks the disk, for its total and its free bytes.
    """

    def __init__(
        self,
        output: Path,
        predict: Callable[[TrackTask], int],
        written: Callable[[TrackTask], int],
        usage: Callable[[Path], tuple[int, int]] | None = None,
    ) -> None:
        """Keep the seams."""
        self._output = output
        self._predict = predict
        self._written = written
        self._usage = usage or _usage

    def __call__(
        self, track_task: TrackTask, _resources: Resources, running: Collection[TrackTask]
    ) -> GateDecision | ExitDiagnosis:
        """See `stemsplit.supervisor.pool_interface.Gate`."""
        try:
            total, free = self._usage(self._output)
        except OSError as error:
            return ExitDiagnosis.of(refused(self._output, error))
        kept = sum(max(0, self._predict(one) - self._written(one)) for one in running)
        room = free - round(min(RESERVE_SHARE * total, MOST_RESERVE_BYTES))
        need = self._predict(track_task)
        if need <= room - kept:
            return GateDecision.GO
        if running:
            return GateDecision.WAIT
        return ExitDiagnosis(
            reason=Reason.DISK_FULL,
            message=f"The disk of {quoted(self._output)} has {mebibytes(free)} left, and the stems "
            f"of {quoted(track_task.job.source_path.name)} take about {mebibytes(need)}.",
            remedy="Make room, or name another folder with -o, and run the same command again.",
        )


def _usage(folder: Path) -> tuple[int, int]:
    usage = shutil.disk_usage(folder)
    return usage.total, usage.free


@contextlib.contextmanager
def awake(note: Callable[[str], None]) -> Iterator[None]:
    """Keep the machine from falling asleep within this; where that cannot be, note it."""
    from wakepy import keep

    with keep.running(on_fail="pass") as mode:
        if not mode.active:
            note(
                "this machine cannot be kept awake from here (no desktop session, or none that "
                "allows it): see to it in the system's settings"
            )
        yield

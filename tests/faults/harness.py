"""A real pool with real processes whose children misbehave, and what is left of it afterwards."""

from __future__ import annotations

import gc
import multiprocessing.resource_tracker
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from parallel import is_of_these_tests

from stemsplit.core.child_entry import SESSION_VARIABLE
from stemsplit.core.job import Job
from stemsplit.core.limits import Limits, Resources
from stemsplit.core.messages import Task
from stemsplit.core.settings import Settings
from stemsplit.supervisor import launcher
from stemsplit.supervisor.attempt_state import Timings
from stemsplit.supervisor.budget import Budget, Concurrency
from stemsplit.supervisor.launcher import Launcher
from stemsplit.supervisor.pool import Pool
from stemsplit.supervisor.pool_interface import FinalisedAttempt, MessageReceived, TrackEnded
from stemsplit.supervisor.pool_plan import PoolPlan
from stemsplit.supervisor.prediction import Forecast, Workload

if TYPE_CHECKING:
    from stemsplit.core.messages import Finished
    from stemsplit.core.outcome import Outcome
    from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
    from stemsplit.supervisor.launcher import StartMethod
    from stemsplit.supervisor.pool_interface import PoolEvent

MEBIBYTE = 2**20
GIBIBYTE = 2**30

TIMINGS = Timings(
    poll=0.1,
    poll_fastest=0.02,
    start=10,
    close=0.5,
    ask=0.3,
    terminate=0.5,
    away=3,
    settle=0.5,
)
LIMITS = Limits(stall_seconds=3.0, retries=0)
BUDGET = Budget(total_bytes=8 * GIBIBYTE, per_file_bytes=200 * MEBIBYTE, min_free_bytes=0)


@dataclass
class FaultyTrackTask:
    """A track whose child does what its name says; see `misbehaving`."""

    name: str
    folder: Path
    audio_seconds: float = 0.0
    log: str = ""
    efforts: list[Resources] = field(default_factory=list)
    results: list[Finished] = field(default_factory=list)

    @property
    def job(self) -> Job:
        """The track."""
        return Job.of(Path("/", self.name), {"vocals": self.folder / "out" / "vocals.wav"})

    def begin(self, number: int, resources: Resources) -> Task:
        """Make a work folder."""
        self.efforts.append(resources)
        track_task = self.folder / f"work-{self.name}-{number}"
        track_task.mkdir()
        if (self.folder / "group").exists():
            shutil.copy(self.folder / "group", track_task)
        return Task(
            job=self.job,
            settings=Settings(),
            resources=resources,
            model_folder=b"/models",
            staging_folder=os.fsencode(track_task),
            log_file=os.fsencode(self.folder / f"{self.name}-{number}.log"),
        )

    def conclude(
        self, task: Task, diagnosis: ExitDiagnosis, result: Finished | None
    ) -> FinalisedAttempt:
        """Remove the work folder and keep the log's text."""
        shutil.rmtree(task.staging_path)
        self.log = task.log_path.read_text(errors="replace") if task.log_path.exists() else ""
        task.log_path.unlink(missing_ok=True)
        if result is not None:
            self.results.append(result)
        return FinalisedAttempt(diagnosis=diagnosis)


def plan(
    *,
    workers: int = 2,
    budget: Budget = BUDGET,
    limits: Limits = LIMITS,
    timings: Timings = TIMINGS,
    resources: Resources | None = None,
    way: Workload | None = None,
) -> PoolPlan:
    """Make a plan with short waiting times."""
    return PoolPlan(
        concurrency=Concurrency(workers=workers, resources=resources or Resources()),
        budget=budget,
        limits=limits,
        forecast=Forecast(way or Workload(kind="tensorflow", stems=1), preloaded=True),
        timings=timings,
    )


@dataclass
class Ran:
    """What a pool told, and when each track was ready and settled."""

    events: list[PoolEvent] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    ready_at: dict[str, float] = field(default_factory=dict)
    settled_at: dict[str, float] = field(default_factory=dict)

    def seconds(self, name: str) -> float:
        """Give the time from a child's being ready to misbehave to its track's end."""
        return self.settled_at[name] - self.ready_at.get(name, self.settled_at[name])


def run_pool(
    track_tasks: list[FaultyTrackTask],
    method: StartMethod,
    a_plan: PoolPlan | None = None,
    **launcher_options: object,
) -> Ran:
    """Run a pool to its end."""
    ran = Ran()
    options = {"preload": ("misbehaving",), "program": "misbehaving:run"} | launcher_options
    with Launcher(start_method=method, **options) as launcher:  # type: ignore[arg-type]
        pool = Pool(launcher, a_plan or plan())
        for track_task in track_tasks:
            pool.add(track_task)
        pool.close()
        for event in pool.run():
            ran.events.append(event)
            if isinstance(event, MessageReceived):
                ran.ready_at.setdefault(event.track_task.job.source_path.name, time.monotonic())
            if isinstance(event, TrackEnded):
                name = event.track_task.job.source_path.name
                ran.outcomes[name] = event.outcome
                ran.settled_at[name] = time.monotonic()
    return ran


def marked_processes() -> list[psutil.Process]:
    """Find every process on this machine that a household of these tests has started."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            ours = SESSION_VARIABLE in environment and is_of_these_tests(environment)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def belongings() -> dict[str, object]:
    """List what this process has that a pool may leave behind."""
    multiprocessing.resource_tracker.ensure_running()
    if sys.platform != "win32":
        launcher._socket_folder()  # is the program's as well, with a lock that stays
    # A process that has forked, as for a pseudo-terminal, starts its BLAS threads anew when needed.
    np.ones((512, 512)) @ np.ones((512, 512))
    gc.collect()  # what earlier tests have left to be closed is not to be closed in this one
    me = psutil.Process()
    return {
        "children": len(me.children(recursive=True)),
        "threads": me.num_threads(),
        "descriptors": me.num_fds(),
        "marked processes": len(marked_processes()),
        "temporary files": sorted(Path(tempfile.gettempdir()).glob("stemsplit-*")),
    }


def assert_nothing_is_left(before: dict[str, object]) -> None:
    """Compare, giving what is just ending two seconds; what ended meanwhile was another's."""
    deadline = time.monotonic() + 2
    while _has_more(after := belongings(), before):
        assert time.monotonic() < deadline, f"{before} -> {after}"
        time.sleep(0.02)


def _has_more(after: dict[str, object], before: dict[str, object]) -> bool:
    def number(one: object) -> int:
        return one if isinstance(one, int) else 0

    new = {*_files(after)} - {*_files(before)}
    return bool(new) or any(number(after[name]) > number(before[name]) for name in before)


def _files(found: dict[str, object]) -> list[Path]:
    files = found["temporary files"]
    return files if isinstance(files, list) else []

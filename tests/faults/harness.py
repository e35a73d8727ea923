"""Runs a real pool whose children misbehave, and checks for leftovers."""

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
from parallel import is_of_this_worker

from stemsplit.core.child_entry import SESSION_VARIABLE
from stemsplit.core.job import Job
from stemsplit.core.limits import Limits, Resources
from stemsplit.core.messages import Task
from stemsplit.core.settings import Settings
from stemsplit.supervisor import fork_server
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
    suspension=3,
    settle=0.5,
)
LIMITS = Limits(stall_seconds=3.0, retries=0)
BUDGET = Budget(total_bytes=8 * GIBIBYTE, per_file_bytes=200 * MEBIBYTE, min_free_bytes=0)


@dataclass
class FaultyTrackTask:
    """A track whose child runs the function of `misbehaving` with the track's name."""

    name: str
    folder: Path
    audio_seconds: float = 0.0
    log: str = ""
    resources: list[Resources] = field(default_factory=list)
    results: list[Finished] = field(default_factory=list)

    @property
    def job(self) -> Job:
        """Source and destination."""
        return Job.of(Path("/", self.name), {"vocals": self.folder / "out" / "vocals.wav"})

    def begin_attempt(self, number: int, resources: Resources) -> Task:
        """Create a staging folder."""
        self.resources.append(resources)
        staging = self.folder / f"staging-{self.name}-{number}"
        staging.mkdir()
        if (self.folder / "cgroup").exists():
            shutil.copy(self.folder / "cgroup", staging)
        return Task(
            job=self.job,
            settings=Settings(),
            resources=resources,
            model_folder=b"/models",
            staging_folder=os.fsencode(staging),
            log_file=os.fsencode(self.folder / f"{self.name}-{number}.log"),
        )

    def finalise(
        self, task: Task, diagnosis: ExitDiagnosis, result: Finished | None
    ) -> FinalisedAttempt:
        """Remove the staging folder and keep the text of the log."""
        shutil.rmtree(task.staging_path)
        self.log = task.log_path.read_text(errors="replace") if task.log_path.exists() else ""
        task.log_path.unlink(missing_ok=True)
        if result is not None:
            self.results.append(result)
        return FinalisedAttempt(diagnosis=diagnosis)


def make_plan(
    *,
    workers: int = 2,
    budget: Budget = BUDGET,
    limits: Limits = LIMITS,
    timings: Timings = TIMINGS,
    resources: Resources | None = None,
    workload: Workload | None = None,
) -> PoolPlan:
    """Return a plan with short timeouts."""
    return PoolPlan(
        concurrency=Concurrency(workers=workers, resources=resources or Resources()),
        budget=budget,
        limits=limits,
        forecast=Forecast(workload or Workload(kind="tensorflow", stems=1), preloaded=True),
        timings=timings,
    )


@dataclass
class PoolRun:
    """Events and outcomes of a pool.

    Attributes:
        events: of the whole run.
        outcomes: by the name of the track.
        ready_at: time of the first message of each track.
        ended_at: time of each track's outcome.
    """

    events: list[PoolEvent] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    ready_at: dict[str, float] = field(default_factory=dict)
    ended_at: dict[str, float] = field(default_factory=dict)

    def seconds(self, name: str) -> float:
        """Return the time from the child's first message to the track's outcome."""
        return self.ended_at[name] - self.ready_at.get(name, self.ended_at[name])


def run_pool(
    track_tasks: list[FaultyTrackTask],
    method: StartMethod,
    plan: PoolPlan | None = None,
    **launcher_options: object,
) -> PoolRun:
    """Run a pool until all tracks have ended."""
    run = PoolRun()
    options = {"preload": ("misbehaving",), "program": "misbehaving:run"} | launcher_options
    with Launcher(start_method=method, **options) as launcher:  # type: ignore[arg-type]
        pool = Pool(launcher, plan or make_plan())
        for track_task in track_tasks:
            pool.add(track_task)
        pool.close()
        for event in pool.run():
            run.events.append(event)
            if isinstance(event, MessageReceived):
                run.ready_at.setdefault(event.track_task.job.source_path.name, time.monotonic())
            if isinstance(event, TrackEnded):
                name = event.track_task.job.source_path.name
                run.outcomes[name] = event.outcome
                run.ended_at[name] = time.monotonic()
    return run


def session_processes() -> list[psutil.Process]:
    """Return all processes that sessions of these tests have started."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            is_own = SESSION_VARIABLE in environment and is_of_this_worker(environment)
            if is_own and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def resources_in_use() -> dict[str, object]:
    """Return the resources of this process that a pool may leave behind."""
    multiprocessing.resource_tracker.ensure_running()
    if sys.platform != "win32":
        fork_server.socket_folder()  # exists once per program, with a lock that is kept
    # After a fork, as for a pseudo-terminal, BLAS restarts its threads when they are needed.
    np.ones((512, 512)) @ np.ones((512, 512))
    gc.collect()  # objects of earlier tests must not be collected during this one
    me = psutil.Process()
    return {
        "children": len(me.children(recursive=True)),
        "threads": me.num_threads(),
        "descriptors": me.num_fds(),
        "session processes": len(session_processes()),
        "temporary files": sorted(Path(tempfile.gettempdir()).glob("stemsplit-*")),
    }


def assert_no_leftovers(before: dict[str, object]) -> None:
    """Check that at most the resources of `before` are in use, after at most two seconds."""
    deadline = time.monotonic() + 2
    while _has_more(after := resources_in_use(), before):
        assert time.monotonic() < deadline, f"{before} -> {after}"
        time.sleep(0.02)


def _has_more(after: dict[str, object], before: dict[str, object]) -> bool:
    def count(value: object) -> int:
        return value if isinstance(value, int) else 0

    new_files = {*_files(after)} - {*_files(before)}
    return bool(new_files) or any(count(after[name]) > count(before[name]) for name in before)


def _files(resources: dict[str, object]) -> list[Path]:
    files = resources["temporary files"]
    return files if isinstance(files, list) else []

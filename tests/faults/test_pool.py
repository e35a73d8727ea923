"""The pool with real processes: memory, retries, failed starts, cancellation and long batches."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest
from harness import (
    BUDGET,
    GIBIBYTE,
    LIMITS,
    MEBIBYTE,
    TIMINGS,
    FaultyTrackTask,
    make_plan,
    run_pool,
)

from stemsplit.core.limits import Limits, Resources
from stemsplit.core.messages import Progress
from stemsplit.core.outcome import Reason
from stemsplit.core.units import TimeLimit
from stemsplit.supervisor.budget import HostMemory
from stemsplit.supervisor.launcher import Launcher
from stemsplit.supervisor.pool import Pool
from stemsplit.supervisor.pool_interface import (
    Launched,
    LoopIterated,
    MessageReceived,
    Noted,
    Retried,
    TrackEnded,
)
from stemsplit.supervisor.prediction import Workload
from stemsplit.supervisor.process_tree import SystemMeter
from stemsplit.supervisor.termination import SystemProcessHandle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.supervisor.launcher import StartMethod
    from stemsplit.supervisor.pool_interface import PoolEvent


def _retrying(retries: int) -> Limits:
    return msgspec.structs.replace(LIMITS, retries=retries)


def test_a_retry_changes_the_resources(tmp_path: Path, start_method: StartMethod) -> None:
    """After the cap: lean, then alone. After a crash: alone. After a stall: alone, one thread."""
    track_tasks = {
        name: FaultyTrackTask(name, tmp_path)
        for name in ("allocate_at_once", "segfault", "hang_in_python")
    }
    plan = make_plan(limits=_retrying(2), resources=Resources(threads=2))
    run = run_pool(list(track_tasks.values()), start_method, plan)
    first = Resources(threads=2)
    assert track_tasks["allocate_at_once"].resources == [
        first,
        Resources(threads=1, lean=True),
        Resources(threads=1, lean=True, alone=True),
    ]
    assert track_tasks["segfault"].resources == [
        first,
        Resources(threads=2, alone=True),
        Resources(threads=1, alone=True),
    ]
    assert track_tasks["hang_in_python"].resources[1:] == [Resources(threads=1, alone=True)] * 2
    assert [len(outcome.attempts) for outcome in run.outcomes.values()] == [3, 3, 3]
    assert len([event for event in run.events if isinstance(event, Retried)]) == 6


def test_whole_tracks_that_never_fit_into_memory_are_not_started(tmp_path: Path) -> None:
    """A track of ten hours and one of unknown length fail; a short track is done."""
    track_tasks = [
        FaultyTrackTask("succeed", tmp_path, audio_seconds=10.0),
        FaultyTrackTask("ten hours", tmp_path, audio_seconds=36_000.0),
        FaultyTrackTask("unknown length", tmp_path, audio_seconds=math.inf),
    ]
    plan = make_plan(
        budget=replace(BUDGET, per_file_bytes=None),
        workload=Workload(kind="whole", stems=2),
        workers=1,
    )
    run = run_pool(track_tasks, "forkserver", plan)
    assert run.outcomes["succeed"].reason is Reason.DONE
    expected = (("ten hours", "the budget allows"), ("unknown length", "is unknown until"))
    for name, message in expected:
        outcome = run.outcomes[name]
        assert outcome.reason is Reason.TOO_LARGE
        assert message in outcome.message
        assert outcome.remedy
        assert outcome.attempts == ()


def test_a_whole_track_without_progress_is_not_stalled(tmp_path: Path) -> None:
    """A whole track is separated in a single step, so only its timeout applies."""
    track_tasks = [FaultyTrackTask("spin", tmp_path, audio_seconds=1.0)]
    timeout = TimeLimit(seconds=6.0)
    plan = make_plan(
        budget=replace(BUDGET, per_file_bytes=None),
        limits=msgspec.structs.replace(LIMITS, timeout=timeout),
        workload=Workload(kind="whole", stems=2),
    )
    run = run_pool(track_tasks, "forkserver", plan)
    assert run.outcomes["spin"].reason is Reason.TIMED_OUT, "not stalled after three seconds"


def test_a_retry_alone_waits_for_all_other_children(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """No other child runs when the retry starts."""
    names = ["segfault", *(f"work_for_a_second-{number}" for number in range(4))]
    plan = make_plan(limits=_retrying(1))
    run = run_pool([FaultyTrackTask(name, tmp_path) for name in names], start_method, plan)
    running: set[str] = set()
    for event in run.events:
        if isinstance(event, Launched):
            running.add(event.track_task.job.source_path.name)
            if event.resources.alone:
                assert running == {"segfault"}
        elif isinstance(event, Retried | TrackEnded):
            running.discard(event.track_task.job.source_path.name)
    assert run.outcomes["segfault"].attempts[1].resources.alone


def test_a_track_starts_while_the_previous_one_closes_its_files(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """With one worker, at most one more child closes its files."""
    names = [f"close_slowly-{number}" for number in range(3)]
    run = run_pool(
        [FaultyTrackTask(name, tmp_path) for name in names], start_method, make_plan(workers=1)
    )
    running, most = 0, 0
    for event in run.events:
        running += isinstance(event, Launched) - isinstance(event, TrackEnded)
        most = max(most, running)
    assert most == 2
    assert all(outcome.reason is Reason.DONE for outcome in run.outcomes.values())


@pytest.mark.parametrize("fault", ["early_segfault", "early_missing"])
def test_children_that_die_during_startup_stop_the_batch(
    tmp_path: Path, start_method: StartMethod, fault: str
) -> None:
    """A broken installation causes one failure, after three children."""
    track_tasks = [FaultyTrackTask(f"{fault}-{number}", tmp_path) for number in range(9)]
    with Launcher((), start_method=start_method, program="misbehaving:run") as launcher:
        pool = Pool(launcher, make_plan(workers=1, limits=_retrying(2)))
        for track_task in track_tasks:
            pool.add(track_task)
        outcomes = []
        for event in pool.run():
            if isinstance(event, TrackEnded):
                outcomes.append(event.outcome)
                pool.drain()
    assert [outcome.reason for outcome in outcomes] == [Reason.ENGINE_UNAVAILABLE]
    assert "3 children in a row died during startup" in outcomes[0].message
    assert sum(len(track_task.resources) for track_task in track_tasks) == 3
    assert len(pool.unstarted()) == 8


def test_only_consecutive_deaths_during_startup_count(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """A successful child resets the count."""
    names = []
    for number in range(4):
        names += [f"early_segfault-{number}", f"succeed-{number}"]
    run = run_pool(
        [FaultyTrackTask(name, tmp_path) for name in names], start_method, make_plan(workers=1)
    )
    reasons = [outcome.reason for outcome in run.outcomes.values()]
    assert reasons == [Reason.CRASHED, Reason.DONE] * 4


def test_a_fork_server_that_is_never_ready_is_replaced(tmp_path: Path) -> None:
    """The new server has no preload, and the supervisor does not wait for either."""
    began = time.monotonic()
    run = run_pool(
        [FaultyTrackTask("succeed", tmp_path)],
        "forkserver",
        preload=("hanging_preload",),
        server_seconds=0.5,
    )
    assert run.outcomes["succeed"].reason is Reason.DONE
    assert time.monotonic() - began < 20


def test_a_slow_consumer_of_events_does_not_cause_a_stall(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """The children continue meanwhile, and their messages wait in the pipe."""
    outcomes = []
    with Launcher(
        ("misbehaving",), start_method=start_method, program="misbehaving:run"
    ) as launcher:
        pool = Pool(launcher, make_plan())
        pool.add(FaultyTrackTask("work_for_a_second-1", tmp_path))
        pool.add(FaultyTrackTask("work_for_a_second-2", tmp_path))
        pool.close()
        slept = False
        for event in pool.run():
            if (
                isinstance(event, MessageReceived)
                and isinstance(event.message, Progress)
                and not slept
            ):
                slept = True
                time.sleep(LIMITS.stall_seconds + 1.5)
            if isinstance(event, TrackEnded):
                outcomes.append(event.outcome.reason)
    assert outcomes == [Reason.DONE] * 2


def test_a_track_cancelled_during_its_termination_is_not_retried(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """Its child is terminated for a stall, but the outcome is the cancellation."""
    track_task = FaultyTrackTask("ignore_sigterm", tmp_path)
    with Launcher((), start_method=start_method, program="misbehaving:run") as launcher:
        pool = Pool(launcher, make_plan(limits=_retrying(5)))
        pool.add(track_task)
        pool.close()
        threading.Timer(3.0, pool.cancel, (track_task,)).start()
        ended = [event for event in pool.run() if isinstance(event, TrackEnded)]
    assert [event.outcome.reason for event in ended] == [Reason.CANCELLED]


def test_interruptions_of_the_shutdown_leave_no_child_behind(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """A second and a third signal arrive during the shutdown; no child survives."""
    errors = iter([KeyboardInterrupt, SystemExit])

    class InterruptedHandle(SystemProcessHandle):
        def terminate(self) -> None:
            for error in errors:
                raise error
            super().terminate()

        def kill_leftovers(self) -> None:
            super().kill_leftovers()
            for error in errors:
                raise error

    with Launcher((), start_method=start_method, program="misbehaving:run") as launcher:
        pool = Pool(launcher, make_plan(), process_handle=InterruptedHandle)
        for number in range(2):
            pool.add(FaultyTrackTask(f"ignore_sigterm-{number}", tmp_path))
        running = pool.run()
        for event in running:
            if isinstance(event, MessageReceived) and len(pool.unstarted()) == 0:
                break
        with pytest.raises(SystemExit):
            running.close()
    assert list(tmp_path.iterdir()) == []


def test_tracks_are_retried_after_the_fork_server_was_killed(tmp_path: Path) -> None:
    """The orphaned children are terminated, and their tracks end as done."""
    track_tasks = [FaultyTrackTask(f"work_for_a_second-{number}", tmp_path) for number in range(4)]
    outcomes = []
    with Launcher(
        ("misbehaving",), start_method="forkserver", program="misbehaving:run"
    ) as launcher:
        pool = Pool(launcher, make_plan())
        for track_task in track_tasks:
            pool.add(track_task)
        pool.close()
        killed = False
        for event in pool.run():
            if isinstance(event, MessageReceived) and not killed:
                killed = True
                server = psutil.Process(_forked_child()).parent()
                assert server is not None
                assert server.pid != os.getpid()
                server.kill()
            if isinstance(event, TrackEnded):
                outcomes.append(event.outcome)
    assert [outcome.reason for outcome in outcomes] == [Reason.DONE] * 4
    lost = [outcome.attempts[0].reason for outcome in outcomes if len(outcome.attempts) == 2]
    assert set(lost) == {Reason.EVICTED}, "not the track's fault"


def _forked_child() -> int:
    """Return the PID of a child of the fork server."""
    for process in psutil.Process().children(recursive=True):
        parent = process.parent()
        if parent is not None and parent.pid != os.getpid():
            pid: int = process.pid
            return pid
    raise AssertionError("the fork server has no child")


def test_a_fork_server_whose_preload_fails_is_replaced(tmp_path: Path) -> None:
    """The new server starts without the preload."""
    run = run_pool(
        [FaultyTrackTask("succeed", tmp_path)], "forkserver", preload=("failing_preload",)
    )
    assert run.outcomes["succeed"].reason is Reason.DONE


def test_the_recorded_peak_memory_excludes_the_fork_server(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """A fork server that was large during its imports does not count."""
    preload = ("large_preload", "misbehaving")
    track_tasks = [FaultyTrackTask("succeed", tmp_path), FaultyTrackTask("hold_memory", tmp_path)]
    run = run_pool(track_tasks, start_method, preload=preload)
    small = run.outcomes["succeed"].attempts[0]
    large = run.outcomes["hold_memory"].attempts[0]
    assert small.peak_rss_bytes is not None
    assert small.peak_rss_bytes < 100 * MEBIBYTE
    assert large.peak_rss_bytes is not None
    assert large.peak_rss_bytes > 150 * MEBIBYTE
    assert large.peak_pss_bytes is not None
    assert 150 * MEBIBYTE < large.peak_pss_bytes < 250 * MEBIBYTE


@pytest.fixture
def control_group(tmp_path: Path) -> Iterator[Path]:
    """A control group below the current one, with a memory limit of 200 MiB."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in {"memory", ""}:
            top = Path("/sys/fs/cgroup", controllers)
            group = top / path.lstrip("/") / "stemsplit-test"
            limit = "memory.limit_in_bytes" if controllers else "memory.max"
            try:
                group.mkdir()
                (group / limit).write_text(str(200 * MEBIBYTE))
            except OSError:
                with contextlib.suppress(OSError):
                    group.rmdir()
                continue
            (tmp_path / "cgroup").write_text(str(group))
            yield group
            (tmp_path / "cgroup").unlink()
            deadline = time.monotonic() + 2
            while group.exists() and time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    group.rmdir()
            return
    pytest.skip("needs root and the memory controller")


@pytest.mark.usefixtures("control_group")
def test_a_kill_by_the_kernel_is_recognised(tmp_path: Path, start_method: StartMethod) -> None:
    """The real out-of-memory killer kills the child, and the retry is lean."""
    track_task = FaultyTrackTask("exceed_cgroup_limit", tmp_path)
    plan = make_plan(limits=_retrying(1), budget=replace(BUDGET, per_file_bytes=4 * GIBIBYTE))
    outcome = run_pool([track_task], start_method, plan).outcomes["exceed_cgroup_limit"]
    assert outcome.reason is Reason.KILLED_BY_KERNEL
    assert "was killed by the kernel's out-of-memory killer" in outcome.message
    assert track_task.resources[1].lean


@dataclass
class FakeMemoryMeter(SystemMeter):
    """The real meter, except that the test sets the available memory."""

    available_bytes: int = 20 * GIBIBYTE

    def host_memory(self) -> HostMemory:
        """Return the memory that the test has set."""
        return HostMemory(total_bytes=24 * GIBIBYTE, available_bytes=self.available_bytes)


def test_the_youngest_child_is_evicted_when_memory_is_low(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """Its track returns to the queue, and all tracks are done."""
    track_tasks = [FaultyTrackTask(f"work_for_a_second-{number}", tmp_path) for number in range(3)]
    events: list[PoolEvent] = []
    with Launcher(
        ("misbehaving",), start_method=start_method, program="misbehaving:run"
    ) as launcher:
        meter = FakeMemoryMeter()
        budget = replace(BUDGET, min_free_bytes=2 * GIBIBYTE)
        timings = replace(TIMINGS, recover=0.5)
        pool = Pool(launcher, make_plan(budget=budget, timings=timings), meter=meter)
        for track_task in track_tasks:
            pool.add(track_task)
        pool.close()
        for event in pool.run():
            events.append(event)
            if (
                isinstance(event, MessageReceived)
                and event.track_task is track_tasks[1]
                and len(track_tasks[1].resources) == 1
            ):
                meter.available_bytes = 500 * MEBIBYTE  # less than half of what must stay free
            if isinstance(event, Retried):
                meter.available_bytes = 20 * GIBIBYTE
    retried = [event for event in events if isinstance(event, Retried)]
    assert [event.attempt.reason for event in retried] == [Reason.EVICTED]
    assert retried[0].track_task is track_tasks[1], "the younger of the two"
    outcomes = [event.outcome for event in events if isinstance(event, TrackEnded)]
    assert [outcome.reason for outcome in outcomes] == [Reason.DONE] * 3


def test_a_wait_for_memory_is_noted_and_ends_the_batch(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """A note at once, and a failure after the timeout; no child is started."""
    track_task = FaultyTrackTask("succeed", tmp_path)
    with Launcher((), start_method=start_method, program="misbehaving:run") as launcher:
        pool = Pool(
            launcher,
            make_plan(
                budget=replace(BUDGET, min_free_bytes=2 * GIBIBYTE),
                timings=replace(TIMINGS, memory_wait=0.5),
            ),
            meter=FakeMemoryMeter(available_bytes=GIBIBYTE),
        )
        pool.add(track_task)
        pool.close()
        note, ended = [event for event in pool.run() if not isinstance(event, LoopIterated)]
    assert isinstance(note, Noted)
    assert isinstance(ended, TrackEnded)
    assert ended.outcome.reason is Reason.NO_MEMORY
    assert ended.outcome.reason.stops_batch
    assert "Not enough memory became available" in ended.outcome.message
    assert track_task.resources == []


def test_all_children_together_stay_within_the_budget(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """Two children of 150 MiB run one after the other in a budget for one and a half."""
    base = SystemMeter().sample([], exact=True).total.pss_bytes or 0
    track_tasks = [FaultyTrackTask(f"hold_memory-{number}", tmp_path) for number in range(2)]
    total = base + 300 * MEBIBYTE
    budget = replace(BUDGET, total_bytes=total)
    run = run_pool(track_tasks, start_method, make_plan(budget=budget))
    assert [outcome.reason for outcome in run.outcomes.values()] == [Reason.DONE] * 2
    launches = [type(event) for event in run.events if isinstance(event, Launched | TrackEnded)]
    assert launches == [Launched, TrackEnded, Launched, TrackEnded]


@pytest.mark.parametrize("program", ["hang_in_python", "ignore_sigterm"])
def test_closing_the_run_terminates_every_child(
    tmp_path: Path, start_method: StartMethod, program: str
) -> None:
    """No child is left, not even if it ignores SIGTERM."""
    with Launcher((), start_method=start_method, program="misbehaving:run") as launcher:
        pool = Pool(launcher, make_plan())
        for number in range(9):
            pool.add(FaultyTrackTask(f"{program}-{number}", tmp_path))
        running = pool.run()
        launched = 0
        for event in running:
            launched += isinstance(event, MessageReceived)
            if launched == 4:
                break
        running.close()


def test_a_drained_pool_finishes_the_running_tracks(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """Another thread drains the pool; the waiting tracks are not started."""
    track_tasks = [FaultyTrackTask(f"work_for_a_second-{number}", tmp_path) for number in range(5)]
    outcomes = []
    with Launcher(
        ("misbehaving",), start_method=start_method, program="misbehaving:run"
    ) as launcher:
        pool = Pool(launcher, make_plan())
        for track_task in track_tasks:
            pool.add(track_task)
        for event in pool.run():
            if isinstance(event, MessageReceived) and isinstance(event.message, Progress):
                threading.Thread(target=pool.drain).start()
            if isinstance(event, TrackEnded):
                outcomes.append(event.outcome.reason)
    assert set(outcomes) == {Reason.DONE}
    assert len(outcomes) + len(pool.unstarted()) == 5
    assert len(pool.unstarted()) >= 3


def test_a_cancelled_child_exits_on_request(tmp_path: Path, start_method: StartMethod) -> None:
    """The child exits between two steps, without a signal."""
    running = FaultyTrackTask("exit_on_request", tmp_path)
    waiting = FaultyTrackTask("succeed", tmp_path)
    outcomes = {}
    with Launcher((), start_method=start_method, program="misbehaving:run") as launcher:
        pool = Pool(launcher, make_plan(workers=1, timings=replace(TIMINGS, ask=5)))
        pool.add(running)
        pool.add(waiting)
        pool.close()
        for event in pool.run():
            if isinstance(event, MessageReceived):
                pool.cancel(running)
                pool.cancel(waiting)
            if isinstance(event, TrackEnded):
                outcomes[event.track_task.job.source_path.name] = event.outcome
    assert {outcome.reason for outcome in outcomes.values()} == {Reason.CANCELLED}
    assert outcomes["succeed"].attempts == ()
    story = "\n".join(outcomes["exit_on_request"].attempts[0].story)
    assert "SIGTERM" not in story


def test_a_suspended_machine_is_not_a_stall(tmp_path: Path, start_method: StartMethod) -> None:
    """All processes are stopped for longer than the stall timeout, and then continue."""
    script = tmp_path / "batch.py"
    script.write_text(
        "import sys\n"
        f"sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "from pathlib import Path\n"
        "from harness import FaultyTrackTask, run_pool\n"
        "if __name__ == '__main__':\n"
        f"    folder = Path({str(tmp_path)!r})\n"
        "    tasks = [FaultyTrackTask(f'work_for_a_second-{n}', folder) for n in 'ab']\n"
        f"    run = run_pool(tasks, {start_method!r})\n"
        "    print(*(outcome.reason for outcome in run.outcomes.values()))\n"
    )
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        deadline = time.monotonic() + 20
        while len(list(tmp_path.glob("staging-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        family = [psutil.Process(running.pid)]
        family += family[0].children(recursive=True)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.suspend()
        time.sleep(5)
        for process in reversed(family):
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
        out, _ = running.communicate(timeout=30)
    assert out.split() == ["done", "done"]


def test_many_tracks_do_not_grow_the_supervisor(tmp_path: Path, start_method: StartMethod) -> None:
    """Memory, threads and descriptors stay the same."""
    me = psutil.Process()
    tracks = 160 if start_method == "forkserver" else 60
    measured: list[tuple[int, int, int]] = []
    with Launcher(
        ("misbehaving",), start_method=start_method, program="misbehaving:run"
    ) as launcher:
        pool = Pool(launcher, make_plan(workers=2))
        for number in range(tracks):
            pool.add(FaultyTrackTask(f"succeed-{number}", tmp_path))
        pool.close()
        ended = 0
        for event in pool.run():
            if isinstance(event, TrackEnded):
                ended += 1
                if ended in {tracks // 4, tracks - 2}:
                    gc.collect()
                    measured.append((me.memory_info().rss, me.num_threads(), me.num_fds()))
    assert ended == tracks
    (first_memory, first_threads, first_files), (memory, threads, files) = measured
    assert memory - first_memory < 4 * MEBIBYTE
    # One child more or less may run at the two moments, with one thread for its log and four files.
    assert abs(threads - first_threads) <= 1
    assert abs(files - first_files) <= 8

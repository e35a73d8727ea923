"""What the pool does about the whole: memory, retries, broken starts, draining, long batches."""

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
    plan,
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


def test_a_retry_changes_something(tmp_path: Path, start_method: StartMethod) -> None:
    """Over its cap: leaner, then alone; crashed: alone; stalled: alone with one thread."""
    track_tasks = {
        name: FaultyTrackTask(name, tmp_path) for name in ("gulp", "segfault", "hang_in_python")
    }
    a_plan = plan(limits=_retrying(2), resources=Resources(threads=2))
    ran = run_pool(list(track_tasks.values()), start_method, a_plan)
    first = Resources(threads=2)
    assert track_tasks["gulp"].efforts == [
        first,
        Resources(threads=1, lean=True),
        Resources(threads=1, lean=True, alone=True),
    ]
    assert track_tasks["segfault"].efforts == [
        first,
        Resources(threads=2, alone=True),
        Resources(threads=1, alone=True),
    ]
    assert track_tasks["hang_in_python"].efforts[1:] == [Resources(threads=1, alone=True)] * 2
    assert [len(outcome.attempts) for outcome in ran.outcomes.values()] == [3, 3, 3]
    assert len([event for event in ran.events if isinstance(event, Retried)]) == 6


def test_whole_tracks_that_can_never_fit_are_settled_without_a_start(tmp_path: Path) -> None:
    """Ten hours, and an unknown length: a reason each, and the one that fits is done."""
    track_tasks = [
        FaultyTrackTask("behave", tmp_path, audio_seconds=10.0),
        FaultyTrackTask("ten hours", tmp_path, audio_seconds=36_000.0),
        FaultyTrackTask("who knows", tmp_path, audio_seconds=math.inf),
    ]
    a_plan = plan(
        budget=replace(BUDGET, per_file_bytes=None), way=Workload(kind="whole", stems=2), workers=1
    )
    ran = run_pool(track_tasks, "forkserver", a_plan)
    assert ran.outcomes["behave"].reason is Reason.DONE
    for name, words in (("ten hours", "the budget allows"), ("who knows", "cannot be told")):
        outcome = ran.outcomes[name]
        assert outcome.reason is Reason.TOO_LARGE
        assert words in outcome.message
        assert outcome.remedy
        assert outcome.attempts == ()


def test_a_whole_track_may_be_silent_while_it_works(tmp_path: Path) -> None:
    """What would be a stall of a streamed track is the one long step of a whole one."""
    track_tasks = [FaultyTrackTask("spin", tmp_path, audio_seconds=1.0)]
    timeout = TimeLimit(seconds=6.0)
    a_plan = plan(
        budget=replace(BUDGET, per_file_bytes=None),
        limits=msgspec.structs.replace(LIMITS, timeout=timeout),
        way=Workload(kind="whole", stems=2),
    )
    ran = run_pool(track_tasks, "forkserver", a_plan)
    assert ran.outcomes["spin"].reason is Reason.TIMED_OUT, "and not stalled after three seconds"


def test_a_child_alone_has_the_machine_for_itself(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """While a retry runs alone, no other child is started."""
    names = ["segfault", *(f"take_a_while-{number}" for number in range(4))]
    a_plan = plan(limits=_retrying(1))
    ran = run_pool([FaultyTrackTask(name, tmp_path) for name in names], start_method, a_plan)
    running: set[str] = set()
    for event in ran.events:
        if isinstance(event, Launched):
            running.add(event.track_task.job.source_path.name)
            if event.resources.alone:
                assert running == {"segfault"}
        elif isinstance(event, Retried | TrackEnded):
            running.discard(event.track_task.job.source_path.name)
    assert ran.outcomes["segfault"].attempts[1].resources.alone


def test_the_next_track_starts_while_the_last_one_is_closed(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """One may work at a time; one more may close its files."""
    names = [f"close_slowly-{number}" for number in range(3)]
    ran = run_pool(
        [FaultyTrackTask(name, tmp_path) for name in names], start_method, plan(workers=1)
    )
    running, most = 0, 0
    for event in ran.events:
        running += isinstance(event, Launched) - isinstance(event, TrackEnded)
        most = max(most, running)
    assert most == 2
    assert all(outcome.reason is Reason.DONE for outcome in ran.outcomes.values())


@pytest.mark.parametrize("fault", ["early_segfault", "early_missing"])
def test_children_that_die_at_start_stop_the_batch(
    tmp_path: Path, start_method: StartMethod, fault: str
) -> None:
    """A broken installation is one error after three children, not a failure of every file."""
    track_tasks = [FaultyTrackTask(f"{fault}-{number}", tmp_path) for number in range(9)]
    with Launcher((), start_method=start_method, program="misbehaving:run") as launcher:
        pool = Pool(launcher, plan(workers=1, limits=_retrying(2)))
        for track_task in track_tasks:
            pool.add(track_task)
        settled = []
        for event in pool.run():
            if isinstance(event, TrackEnded):
                settled.append(event.outcome)
                pool.drain()
    assert [outcome.reason for outcome in settled] == [Reason.ENGINE_UNAVAILABLE]
    assert "3 children in a row died while they started" in settled[0].message
    assert sum(len(track_task.efforts) for track_task in track_tasks) == 3
    assert len(pool.unstarted()) == 8


def test_deaths_at_start_count_only_in_a_row(tmp_path: Path, start_method: StartMethod) -> None:
    """Children that come to work in between begin the count anew."""
    names = []
    for number in range(4):
        names += [f"early_segfault-{number}", f"behave-{number}"]
    ran = run_pool(
        [FaultyTrackTask(name, tmp_path) for name in names], start_method, plan(workers=1)
    )
    reasons = [outcome.reason for outcome in ran.outcomes.values()]
    assert reasons == [Reason.CRASHED, Reason.DONE] * 4


def test_a_fork_server_that_never_gets_ready_is_replaced(tmp_path: Path) -> None:
    """One without a preload takes its place, and the supervisor waits for neither."""
    began = time.monotonic()
    ran = run_pool(
        [FaultyTrackTask("behave", tmp_path)],
        "forkserver",
        preload=("takes_for_ever",),
        server_seconds=0.5,
    )
    assert ran.outcomes["behave"].reason is Reason.DONE
    assert time.monotonic() - began < 20


def test_a_listener_that_takes_its_time_is_no_stall(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """The children went on meanwhile, and their messages wait in the pipe."""
    outcomes = []
    with Launcher(
        ("misbehaving",), start_method=start_method, program="misbehaving:run"
    ) as launcher:
        pool = Pool(launcher, plan())
        pool.add(FaultyTrackTask("take_a_while-1", tmp_path))
        pool.add(FaultyTrackTask("take_a_while-2", tmp_path))
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


def test_a_track_that_is_cancelled_while_it_is_ended_does_not_come_back(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """It was being retried for something else; the cancellation counts."""
    track_task = FaultyTrackTask("ignore_terminate", tmp_path)
    with Launcher((), start_method=start_method, program="misbehaving:run") as launcher:
        pool = Pool(launcher, plan(limits=_retrying(5)))
        pool.add(track_task)
        pool.close()
        threading.Timer(3.0, pool.cancel, (track_task,)).start()
        settled = [event for event in pool.run() if isinstance(event, TrackEnded)]
    assert [event.outcome.reason for event in settled] == [Reason.CANCELLED]


def test_interruptions_while_all_is_ended_leave_nothing(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """A second and third signal come at the worst moments; every child is ended all the same."""
    interruptions = iter([KeyboardInterrupt, SystemExit])

    class InterruptedLeash(SystemProcessHandle):
        def terminate(self) -> None:
            for kind in interruptions:
                raise kind
            super().terminate()

        def bury(self) -> None:
            super().bury()
            for kind in interruptions:
                raise kind

    with Launcher((), start_method=start_method, program="misbehaving:run") as launcher:
        pool = Pool(launcher, plan(), process_handle=InterruptedLeash)
        for number in range(2):
            pool.add(FaultyTrackTask(f"ignore_terminate-{number}", tmp_path))
        running = pool.run()
        for event in running:
            if isinstance(event, MessageReceived) and len(pool.unstarted()) == 0:
                break
        with pytest.raises(SystemExit):
            running.close()
    assert list(tmp_path.iterdir()) == []


def test_a_fork_server_that_is_killed_takes_nothing_with_it(tmp_path: Path) -> None:
    """Its children are found out and ended, their tracks done again, and the batch goes on."""
    track_tasks = [FaultyTrackTask(f"take_a_while-{number}", tmp_path) for number in range(4)]
    outcomes = []
    with Launcher(
        ("misbehaving",), start_method="forkserver", program="misbehaving:run"
    ) as launcher:
        pool = Pool(launcher, plan())
        for track_task in track_tasks:
            pool.add(track_task)
        pool.close()
        killed = False
        for event in pool.run():
            if isinstance(event, MessageReceived) and not killed:
                killed = True
                server = psutil.Process(_child_of(track_tasks[0])).parent()
                assert server is not None
                assert server.pid != os.getpid()
                server.kill()
            if isinstance(event, TrackEnded):
                outcomes.append(event.outcome)
    assert [outcome.reason for outcome in outcomes] == [Reason.DONE] * 4
    lost = [outcome.attempts[0].reason for outcome in outcomes if len(outcome.attempts) == 2]
    assert set(lost) == {Reason.EVICTED}, "without blame"


def _child_of(_track_task: FaultyTrackTask) -> int:
    """Find a child that the fork server has forked."""
    for process in psutil.Process().children(recursive=True):
        parent = process.parent()
        if parent is not None and parent.pid != os.getpid():
            pid: int = process.pid
            return pid
    raise AssertionError("there is no child of a fork server")


def test_a_preload_that_breaks_the_fork_server_is_survived(tmp_path: Path) -> None:
    """A server that its imports have ended is started again without them; the child goes on."""
    ran = run_pool(
        [FaultyTrackTask("behave", tmp_path)], "forkserver", preload=("breaks_when_imported",)
    )
    assert ran.outcomes["behave"].reason is Reason.DONE


def test_the_recorded_peak_is_the_child_s_own(tmp_path: Path, start_method: StartMethod) -> None:
    """Not its parent's: a fork server that was large for a moment does not show."""
    preload = ("has_been_large", "misbehaving")
    track_tasks = [FaultyTrackTask("behave", tmp_path), FaultyTrackTask("hold_memory", tmp_path)]
    ran = run_pool(track_tasks, start_method, preload=preload)
    small = ran.outcomes["behave"].attempts[0]
    large = ran.outcomes["hold_memory"].attempts[0]
    assert small.peak_rss_bytes is not None
    assert small.peak_rss_bytes < 100 * MEBIBYTE
    assert large.peak_rss_bytes is not None
    assert large.peak_rss_bytes > 150 * MEBIBYTE
    assert large.peak_pss_bytes is not None
    assert 150 * MEBIBYTE < large.peak_pss_bytes < 250 * MEBIBYTE


@pytest.fixture
def control_group(tmp_path: Path) -> Iterator[Path]:
    """A control group of the memory controller with 200 MiB, inside our own."""
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
            (tmp_path / "group").write_text(str(group))
            yield group
            (tmp_path / "group").unlink()
            deadline = time.monotonic() + 2
            while group.exists() and time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    group.rmdir()
            return
    pytest.skip("making a control group needs root and a memory controller")


@pytest.mark.usefixtures("control_group")
def test_the_kernel_s_kill_is_told_apart(tmp_path: Path, start_method: StartMethod) -> None:
    """The real out-of-memory killer ends the child: the reason says so, and a retry is leaner."""
    track_task = FaultyTrackTask("gulp_in_a_group", tmp_path)
    roomy = plan(limits=_retrying(1), budget=replace(BUDGET, per_file_bytes=4 * GIBIBYTE))
    outcome = run_pool([track_task], start_method, roomy).outcomes["gulp_in_a_group"]
    assert outcome.reason is Reason.KILLED_BY_KERNEL
    assert "by SIGKILL, by the kernel" in outcome.message
    assert track_task.efforts[1].lean


@dataclass
class PlayedMeter(SystemMeter):
    """The real meter but for what the machine has free, which a test plays."""

    available_bytes: int = 20 * GIBIBYTE

    def host_memory(self) -> HostMemory:
        """Give what the test has set."""
        return HostMemory(total_bytes=24 * GIBIBYTE, available_bytes=self.available_bytes)


def test_the_youngest_is_evicted_without_blame(tmp_path: Path, start_method: StartMethod) -> None:
    """The machine runs low for a moment: the youngest goes back in line, and all are done."""
    track_tasks = [FaultyTrackTask(f"take_a_while-{number}", tmp_path) for number in range(3)]
    events: list[PoolEvent] = []
    with Launcher(
        ("misbehaving",), start_method=start_method, program="misbehaving:run"
    ) as launcher:
        meter = PlayedMeter()
        budget = replace(BUDGET, min_free_bytes=2 * GIBIBYTE)
        timings = replace(TIMINGS, recover=0.5)
        pool = Pool(launcher, plan(budget=budget, timings=timings), meter=meter)
        for track_task in track_tasks:
            pool.add(track_task)
        pool.close()
        for event in pool.run():
            events.append(event)
            if (
                isinstance(event, MessageReceived)
                and event.track_task is track_tasks[1]
                and len(track_tasks[1].efforts) == 1
            ):
                meter.available_bytes = 500 * MEBIBYTE  # less than half of what is to be left
            if isinstance(event, Retried):
                meter.available_bytes = 20 * GIBIBYTE
    retried = [event for event in events if isinstance(event, Retried)]
    assert [event.attempt.reason for event in retried] == [Reason.EVICTED]
    assert retried[0].track_task is track_tasks[1], "the younger of the first two"
    outcomes = [event.outcome for event in events if isinstance(event, TrackEnded)]
    assert [outcome.reason for outcome in outcomes] == [Reason.DONE] * 3


def test_memory_that_does_not_come_free_is_told_at_once_and_waited_for(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """A note first; a reason that ends the batch when patience is over. No child was started."""
    track_task = FaultyTrackTask("behave", tmp_path)
    with Launcher((), start_method=start_method, program="misbehaving:run") as launcher:
        pool = Pool(
            launcher,
            plan(
                budget=replace(BUDGET, min_free_bytes=2 * GIBIBYTE),
                timings=replace(TIMINGS, patience=0.5),
            ),
            meter=PlayedMeter(available_bytes=GIBIBYTE),
        )
        pool.add(track_task)
        pool.close()
        note, settled = [event for event in pool.run() if not isinstance(event, LoopIterated)]
    assert isinstance(note, Noted)
    assert isinstance(settled, TrackEnded)
    assert settled.outcome.reason is Reason.NO_MEMORY
    assert settled.outcome.reason.stops_batch
    assert "No memory came free" in settled.outcome.message
    assert track_task.efforts == []


def test_all_together_are_kept_under_the_budget(tmp_path: Path, start_method: StartMethod) -> None:
    """Two children of 150 MiB in a budget for one and a half: never over it, and both done."""
    base = SystemMeter().sample([], exact=True).total.pss_bytes or 0
    track_tasks = [FaultyTrackTask(f"hold_memory-{number}", tmp_path) for number in range(2)]
    total = base + 300 * MEBIBYTE
    budget = replace(BUDGET, total_bytes=total)
    ran = run_pool(track_tasks, start_method, plan(budget=budget))
    assert [outcome.reason for outcome in ran.outcomes.values()] == [Reason.DONE] * 2
    launches = [type(event) for event in ran.events if isinstance(event, Launched | TrackEnded)]
    assert launches == [Launched, TrackEnded, Launched, TrackEnded]


@pytest.mark.parametrize("program", ["hang_in_python", "ignore_terminate"])
def test_closing_the_pool_ends_every_child(
    tmp_path: Path, start_method: StartMethod, program: str
) -> None:
    """A batch that is stopped leaves no child, not even one that ignores SIGTERM."""
    with Launcher((), start_method=start_method, program="misbehaving:run") as launcher:
        pool = Pool(launcher, plan())
        for number in range(9):
            pool.add(FaultyTrackTask(f"{program}-{number}", tmp_path))
        running = pool.run()
        launched = 0
        for event in running:
            launched += isinstance(event, MessageReceived)
            if launched == 4:
                break
        running.close()


def test_a_drained_pool_finishes_what_works(tmp_path: Path, start_method: StartMethod) -> None:
    """From another thread: those that work are done, the others are not begun."""
    track_tasks = [FaultyTrackTask(f"take_a_while-{number}", tmp_path) for number in range(5)]
    outcomes = []
    with Launcher(
        ("misbehaving",), start_method=start_method, program="misbehaving:run"
    ) as launcher:
        pool = Pool(launcher, plan())
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


def test_a_cancelled_track_stops_when_asked(tmp_path: Path, start_method: StartMethod) -> None:
    """The child ends of its own accord, between two steps; no signal is needed."""
    track_task, waiting = (
        FaultyTrackTask("stop_when_asked", tmp_path),
        FaultyTrackTask("behave", tmp_path),
    )
    outcomes = {}
    with Launcher((), start_method=start_method, program="misbehaving:run") as launcher:
        pool = Pool(launcher, plan(workers=1, timings=replace(TIMINGS, ask=5)))
        pool.add(track_task)
        pool.add(waiting)
        pool.close()
        for event in pool.run():
            if isinstance(event, MessageReceived):
                pool.cancel(track_task)
                pool.cancel(waiting)
            if isinstance(event, TrackEnded):
                outcomes[event.track_task.job.source_path.name] = event.outcome
    assert {one.reason for one in outcomes.values()} == {Reason.CANCELLED}
    assert outcomes["behave"].attempts == ()
    story = "\n".join(outcomes["stop_when_asked"].attempts[0].story)
    assert "SIGTERM" not in story


def test_a_suspended_machine_is_not_a_stall(tmp_path: Path, start_method: StartMethod) -> None:
    """All of it is stopped for longer than a stall may last, and goes on as if nothing was."""
    script = tmp_path / "batch.py"
    script.write_text(
        "import sys\n"
        f"sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "from pathlib import Path\n"
        "from harness import FaultyWork, plan, run_pool\n"
        "if __name__ == '__main__':\n"
        f"    works = [FaultyWork(f'take_a_while-{{n}}', Path({str(tmp_path)!r})) for n in 'ab']\n"
        f"    ran = run_pool(works, {start_method!r})\n"
        "    print(*(one.reason for one in ran.outcomes.values()))\n"
    )
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        deadline = time.monotonic() + 20
        while len(list(tmp_path.glob("work-*"))) < 2 and time.monotonic() < deadline:
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


def test_two_hundred_tracks_in_a_row(tmp_path: Path, start_method: StartMethod) -> None:
    """No growth of the supervisor: neither memory nor threads nor descriptors."""
    me = psutil.Process()
    seen: list[tuple[int, int, int]] = []
    with Launcher(
        ("misbehaving",), start_method=start_method, program="misbehaving:run"
    ) as launcher:
        pool = Pool(launcher, plan(workers=2))
        for number in range(200):
            pool.add(FaultyTrackTask(f"behave-{number}", tmp_path))
        pool.close()
        settled = 0
        for event in pool.run():
            if isinstance(event, TrackEnded):
                settled += 1
                if settled in {50, 198}:
                    gc.collect()
                    seen.append((me.memory_info().rss, me.num_threads(), me.num_fds()))
    assert settled == 200
    (memory_50, threads_50, files_50), (memory_198, threads_198, files_198) = seen
    assert memory_198 - memory_50 < 4 * MEBIBYTE
    # One child more or less may be running at the moment of the look: a log's thread, four files.
    assert abs(threads_198 - threads_50) <= 1
    assert abs(files_198 - files_50) <= 8

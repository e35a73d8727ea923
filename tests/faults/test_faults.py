"""Children that misbehave, as real processes under both start methods."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from stemsplit.job import Job, Reason, Settings
from stemsplit.messages import Task
from stemsplit.supervisor.launch import Launcher, StartMethod
from stemsplit.supervisor.pool import Ended, Heard, Pool, PoolEvent, Timings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and uses fork servers")

TIMINGS = Timings(sample=0.05, close=0.5, terminate=0.5)


def _task(folder: Path, number: int = 0) -> Task:
    return Task(
        job=Job(source=b"/song.wav", destination=b"/out", stems=("vocals",)),
        settings=Settings(),
        model_folder=b"/models",
        work_folder=b"/work",
        log_file=os.fsencode(folder / f"{number}.log"),
    )


@pytest.fixture(params=["forkserver", "spawn"])
def start_method(request: pytest.FixtureRequest) -> StartMethod:
    """Each way to start a child."""
    method: StartMethod = request.param
    return method


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """After every test: no more children, threads or descriptors than before it."""
    import multiprocessing.resource_tracker

    multiprocessing.resource_tracker.ensure_running()
    me = psutil.Process()
    before = (len(me.children(recursive=True)), me.num_threads(), me.num_fds())
    yield
    deadline = time.monotonic() + 2
    while (after := (len(me.children(recursive=True)), me.num_threads(), me.num_fds())) != before:
        assert time.monotonic() < deadline, f"children, threads, descriptors: {before} -> {after}"
        time.sleep(0.02)


def _run(program: str, method: StartMethod, folder: Path, tasks: int = 1) -> list[PoolEvent]:
    with Launcher((), start_method=method, program=f"misbehaving:{program}") as launcher:
        pool = Pool(launcher, 2, timings=TIMINGS)
        return list(pool.run(_task(folder, number) for number in range(tasks)))


@pytest.mark.parametrize(
    ("program", "reason", "words"),
    [
        ("behave", Reason.DONE, ""),
        ("exit_without_a_result", Reason.NO_RESULT, "without a result"),
        ("exit_with_a_code", Reason.CRASHED, "exit code 7"),
        ("segfault", Reason.CRASHED, "SIGSEGV"),
        ("kill_itself", Reason.CRASHED, "SIGKILL"),
        ("raise_in_main", Reason.CRASHED, "exit code 1"),
        ("send_garbage", Reason.NO_RESULT, "stopped talking"),
        ("announce_too_much", Reason.NO_RESULT, "stopped talking"),
        ("crash_after_the_result", Reason.CRASHED, "SIGSEGV"),
        ("stay_after_the_result", Reason.DONE, ""),
    ],
)
def test_every_end_is_judged(
    tmp_path: Path, start_method: StartMethod, program: str, reason: Reason, words: str
) -> None:
    """Each fault is found out, named, and leaves nothing behind."""
    (ended,) = [one for one in _run(program, start_method, tmp_path) if isinstance(one, Ended)]
    assert ended.verdict.reason is reason
    assert words in ended.verdict.message
    assert (ended.result is not None) == (program in {"behave", *RESULT_FIRST})


RESULT_FIRST = {"crash_after_the_result", "stay_after_the_result"}


def test_every_task_gets_one_end(tmp_path: Path, start_method: StartMethod) -> None:
    """Seven tasks, two at a time: seven ends, each with its messages before it."""
    events = _run("behave", start_method, tmp_path, tasks=7)
    ends = [one.task.log_file for one in events if isinstance(one, Ended)]
    assert len(ends) == len(set(ends)) == 7
    heard = [one.message for one in events if isinstance(one, Heard)]
    assert len(heard) == 14


@pytest.mark.parametrize("program", ["wait_for_ever", "ignore_terminate"])
def test_closing_the_pool_ends_every_child(
    tmp_path: Path, start_method: StartMethod, program: str
) -> None:
    """A batch that is stopped leaves no child, not even one that ignores SIGTERM."""
    with Launcher((), start_method=start_method, program=f"misbehaving:{program}") as launcher:
        running = Pool(launcher, 2, timings=TIMINGS).run(_task(tmp_path, n) for n in range(9))
        heard = 0
        for event in running:
            heard += isinstance(event, Heard)
            if heard == 2:
                break
        running.close()


_SUPERVISOR = """
import sys
from pathlib import Path
sys.path[:0] = [{faults!r}]
from test_faults import _task, TIMINGS
from stemsplit.supervisor.launch import Launcher
from stemsplit.supervisor.pool import Pool
if __name__ == "__main__":
    with Launcher((), start_method={method!r}, program="misbehaving:outlive_the_supervisor") as one:
        list(Pool(one, 2, timings=TIMINGS).run(_task(Path({folder!r}), n) for n in range(2)))
"""


def test_children_die_with_the_supervisor(tmp_path: Path, start_method: StartMethod) -> None:
    """After SIGKILL of the supervisor, neither child nor fork server is alive 2 s later."""
    script = tmp_path / "supervisor.py"
    faults = str(Path(__file__).parent)
    script.write_text(_SUPERVISOR.format(faults=faults, method=start_method, folder=str(tmp_path)))
    with subprocess.Popen([sys.executable, script]) as supervisor:
        deadline = time.monotonic() + 30
        while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        family = psutil.Process(supervisor.pid).children(recursive=True)
        children = {int(path.read_text()) for path in tmp_path.glob("*.pid")}
        assert children <= {process.pid for process in family}
        assert len(children) == 2
        supervisor.kill()
    _, alive = psutil.wait_procs(family, timeout=2)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_a_preload_that_breaks_the_fork_server_is_survived(tmp_path: Path) -> None:
    """A server that its imports have ended is started again without them; the child goes on."""
    preload = ("breaks_when_imported",)
    with Launcher(preload, start_method="forkserver", program="misbehaving:behave") as launcher:
        events = list(Pool(launcher, 1, timings=TIMINGS).run([_task(tmp_path)]))
    (ended,) = [one for one in events if isinstance(one, Ended)]
    assert ended.verdict.reason is Reason.DONE

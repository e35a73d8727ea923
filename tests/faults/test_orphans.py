"""Processes end if the supervisor is killed, or is used where it cannot work."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from harness import session_processes

if TYPE_CHECKING:
    from stemsplit.supervisor.launcher import StartMethod

GONE_WITHIN_SECONDS = 2

_SUPERVISOR = """
import sys
sys.path[:0] = [{faults!r}]
from pathlib import Path
from harness import FaultyTrackTask, run_pool
if __name__ == "__main__":
    tasks = [FaultyTrackTask(f"{program}-{{n}}", Path({folder!r})) for n in range(2)]
    run_pool(tasks, {method!r})
"""


def _start_supervisor(program: str, method: StartMethod, folder: Path) -> subprocess.Popen[bytes]:
    script = folder / "supervisor.py"
    faults = str(Path(__file__).parent)
    script.write_text(
        _SUPERVISOR.format(faults=faults, method=method, folder=str(folder), program=program)
    )
    return subprocess.Popen([sys.executable, script], start_new_session=True)


@pytest.mark.parametrize("program", ["hang_with_a_grandchild", "ignore_sigterm"])
def test_no_process_outlives_a_killed_supervisor(
    tmp_path: Path, start_method: StartMethod, program: str
) -> None:
    """Children, grandchildren, fork server and watchdog exit, even from a held interpreter lock."""
    before = set(Path(tempfile.gettempdir()).glob("stemsplit-*"))
    with _start_supervisor(program, start_method, tmp_path) as supervisor:
        deadline = time.monotonic() + 30
        while len(session_processes()) < 4 + (start_method == "forkserver"):
            if program == "ignore_sigterm" and len(list(tmp_path.glob("*.log"))) == 2:
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        family = session_processes()
        pids = {int(pid) for path in tmp_path.glob("*.pid") for pid in path.read_text().split()}
        assert pids <= {process.pid for process in family}
        assert len(family) >= 2
        supervisor.kill()
        killed_at = time.monotonic()
    while alive := session_processes():
        assert time.monotonic() - killed_at < GONE_WITHIN_SECONDS, alive
        time.sleep(0.02)
    watchdogs = [
        process
        for process in psutil.process_iter()
        if "watchdog.py" in " ".join(_command_line(process))
    ]
    psutil.wait_procs(watchdogs, timeout=2)
    assert set(Path(tempfile.gettempdir()).glob("stemsplit-*")) == before


def _command_line(process: psutil.Process) -> list[str]:
    try:
        arguments: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return arguments


_UNGUARDED = """
import stemsplit
open({counter!r}, "a").write("x")
{use}
"""

_USES = {
    "pool": (
        "with stemsplit.StemPool(start_method={method!r}, jobs=1) as pool:\n"
        "    print(pool.submit({song!r}, {out!r}).result().reason)"
    ),
    "separate": "stemsplit.separate([{song!r}], {out!r}, start_method={method!r}, jobs=1)",
}


@pytest.mark.real
@pytest.mark.usefixtures("real_models")
@pytest.mark.parametrize("use", list(_USES))
def test_a_missing_main_guard_is_reported_once(
    tmp_path: Path, song_file: Path, start_method: StartMethod, use: str
) -> None:
    """Children import the program again; it must not start itself recursively."""
    script = tmp_path / "unguarded.py"
    names = {"method": start_method, "song": str(song_file), "out": str(tmp_path / "out")}
    statements = _USES[use].format(**names)
    counter = str(tmp_path / "counter")
    script.write_text(_UNGUARDED.format(use=statements, counter=counter))
    completed = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert completed.returncode == 1
    last = completed.stderr.strip().splitlines()[-1]
    assert last.startswith("stemsplit.core.errors.UsageError: ")
    assert 'under `if __name__ == "__main__":`' in last
    assert len((tmp_path / "counter").read_text()) <= 3, "the program and at most two children"
    assert not list((tmp_path / "out").rglob("*.wav"))


def test_only_the_supervisor_handles_an_interrupt_of_the_terminal(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """Ctrl-C reaches all processes; children and watchdog ignore it."""
    with _start_supervisor("work_for_a_second", start_method, tmp_path) as supervisor:
        deadline = time.monotonic() + 20
        while len(list(tmp_path.glob("*.log"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for process in session_processes():
            process.send_signal(signal.SIGINT)
        assert supervisor.wait(timeout=20) == 0

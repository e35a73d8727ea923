"""When the supervisor is killed, or used where it must not be: nothing goes on."""

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
from harness import marked_processes

if TYPE_CHECKING:
    from stemsplit.supervisor.launcher import StartMethod

GONE_WITHIN_SECONDS = 2

_SUPERVISOR = """
import sys
sys.path[:0] = [{faults!r}]
from pathlib import Path
from harness import FaultyTrackTask, run_pool
if __name__ == "__main__":
    works = [FaultyTrackTask(f"{program}-{{n}}", Path({folder!r})) for n in range(2)]
    run_pool(works, {method!r})
"""


def _start_supervisor(program: str, method: StartMethod, folder: Path) -> subprocess.Popen[bytes]:
    script = folder / "supervisor.py"
    faults = str(Path(__file__).parent)
    script.write_text(
        _SUPERVISOR.format(faults=faults, method=method, folder=str(folder), program=program)
    )
    return subprocess.Popen([sys.executable, script], start_new_session=True)


@pytest.mark.parametrize("program", ["hang_with_a_grandchild", "ignore_terminate"])
def test_nothing_outlives_a_supervisor_that_is_killed(
    tmp_path: Path, start_method: StartMethod, program: str
) -> None:
    """After SIGKILL: child (it holds the interpreter's lock), grandchild, fork server, warden."""
    before = set(Path(tempfile.gettempdir()).glob("stemsplit-*"))
    with _start_supervisor(program, start_method, tmp_path) as supervisor:
        deadline = time.monotonic() + 30
        while len(marked_processes()) < 4 + (start_method == "forkserver"):
            if program == "ignore_terminate" and len(list(tmp_path.glob("*.log"))) == 2:
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        family = marked_processes()
        numbers = {int(one) for path in tmp_path.glob("*.pid") for one in path.read_text().split()}
        assert numbers <= {process.pid for process in family}
        assert len(family) >= 2
        supervisor.kill()
        killed_at = time.monotonic()
    while alive := marked_processes():
        assert time.monotonic() - killed_at < GONE_WITHIN_SECONDS, alive
        time.sleep(0.02)
    wardens = [one for one in psutil.process_iter() if "warden.py" in " ".join(_command(one))]
    psutil.wait_procs(wardens, timeout=2)
    assert set(Path(tempfile.gettempdir()).glob("stemsplit-*")) == before


def _command(process: psutil.Process) -> list[str]:
    try:
        command: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return command


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
    "call": "stemsplit.separate([{song!r}], {out!r}, start_method={method!r}, jobs=1)",
}


@pytest.mark.real
@pytest.mark.usefixtures("real_models")
@pytest.mark.parametrize("use", list(_USES))
def test_without_a_main_guard_there_is_one_clear_error(
    tmp_path: Path, song_file: Path, start_method: StartMethod, use: str
) -> None:
    """Every child imports the program again: it says what to change, and does not multiply."""
    script = tmp_path / "unguarded.py"
    names = {"method": start_method, "song": str(song_file), "out": str(tmp_path / "out")}
    used = _USES[use].format(**names)
    counter = str(tmp_path / "counter")
    script.write_text(_UNGUARDED.format(use=used, counter=counter))
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("stemsplit.core.errors.UsageError: ")
    assert 'under `if __name__ == "__main__":`' in last
    assert len((tmp_path / "counter").read_text()) <= 3, "the program and at most two children"
    assert not list((tmp_path / "out").rglob("*.wav"))


def test_a_terminal_s_interrupt_is_for_the_supervisor_alone(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """Ctrl-C reaches the whole group; children and warden go on until the supervisor decides."""
    with _start_supervisor("take_a_while", start_method, tmp_path) as supervisor:
        deadline = time.monotonic() + 20
        while len(list(tmp_path.glob("*.log"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for process in marked_processes():
            process.send_signal(signal.SIGINT)
        assert supervisor.wait(timeout=20) == 0

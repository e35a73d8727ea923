"""Runs in the watchdog. Waits for the supervisor to die, then kills all that it has started.

Started as a program: `python watchdog.py VARIABLE FOLDER`. Standard input is a pipe from the
supervisor. One byte on it means that the supervisor has cleaned up, and the watchdog exits. The end
of the pipe without it means that the supervisor is dead. The watchdog then kills every process of
the session, that is, every process whose environment has the value FOLDER for VARIABLE, whatever
its parent. (Jenkins finds the processes that its jobs leave behind in the same way.) It removes
unfinished staging folders, and then FOLDER. It imports nothing large until then and uses about
6 MiB.
"""

import contextlib
import os
import select
import shutil
import sys
import time

TYPE_CHECKING = False  # as in `typing`, which takes time and memory to import
if TYPE_CHECKING:
    import psutil

_KILL_SECONDS = 10.0
"""Longest time to kill the processes of the session."""

_QUIET_ROUNDS = 2
"""Consecutive rounds without a process to kill; one that was forked meanwhile is seen only in the
next round."""


def main(variable: str, folder: str) -> None:
    """Wait for the supervisor, and clean up if it dies."""
    if _wait_for_supervisor():
        return
    deadline = time.monotonic() + _KILL_SECONDS
    quiet = 0
    while quiet < _QUIET_ROUNDS and time.monotonic() < deadline:
        processes = session_processes(variable, folder)
        kill(processes)
        quiet = 0 if processes else quiet + 1
        time.sleep(0.02)
    remove_leftovers(folder)
    shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the folders that files in `folder` name, unless they have other names than expected.

    Each file `*.unfinished` names a staging folder. The file `sockets` names multiprocessing's
    folder of sockets, which the program removes when it exits, unless it is killed.
    """
    from pathlib import Path

    with contextlib.suppress(OSError):
        for note in Path(folder).glob("*.unfinished"):
            staging = Path(os.fsdecode(note.read_bytes()))
            if staging.name == note.stem:
                shutil.rmtree(staging, ignore_errors=True)
    with contextlib.suppress(OSError):
        sockets = Path(os.fsdecode(Path(folder, "sockets").read_bytes()))
        if sockets.name.startswith("pymp-"):
            shutil.rmtree(sockets, ignore_errors=True)


def _wait_for_supervisor() -> bool:
    """Wait until the supervisor has cleaned up or died; return whether it has cleaned up."""
    watched: list[int] = [0]
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # an old kernel
            # A forked copy of the program may hold the other end of the pipe open.
            watched.append(os.pidfd_open(os.getppid()))
    try:
        ready, _, _ = select.select(watched, [], [])
        return 0 in ready and bool(os.read(0, 1))
    except OSError:  # Windows cannot select on a pipe
        with contextlib.suppress(OSError):
            return bool(os.read(0, 1))
    return False


def session_processes(variable: str, folder: str) -> "list[psutil.Process]":
    """Return the living processes of the session except this one."""
    import psutil

    found = []
    for process in psutil.process_iter():
        # psutil may raise other errors for processes that are just exiting.
        with contextlib.suppress(psutil.Error, OSError, RuntimeError, ValueError):
            is_ours = process.environ().get(variable) == folder
            if is_ours and process.status() not in {"zombie", "dead"}:
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def kill(processes: "list[psutil.Process]") -> None:
    """Send SIGKILL to each of the processes that still exists."""
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            process.kill()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

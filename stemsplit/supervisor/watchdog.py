"""Runs in the warden. Waits for the supervisor's death, then ends all that it has started.

A program of its own: `python watchdog.py MARK FOLDER`. Its standard input is a pipe from the
supervisor. One byte on it means that the supervisor has cleaned up, and ends the warden. The end of
the pipe without it means that the supervisor is dead: every process that bears the household's
mark, the variable MARK with the value FOLDER in its environment, is killed, however it hangs and
whoever its parent is by then; the folders of unfinished work are removed, and FOLDER with them.
(Jenkins finds what its jobs leave behind in the same way.) Imports nothing heavy until then: it
takes some 6 MiB.
"""

import contextlib
import os
import select
import shutil
import sys
import time

TYPE_CHECKING = False  # what `typing` calls so, without the time and memory to import that
if TYPE_CHECKING:
    import psutil

_PATIENCE_SECONDS = 10.0


def main(mark: str, folder: str) -> None:
    """Wait, and clean up if nobody else can."""
    if _goodbye():
        return
    deadline = time.monotonic() + _PATIENCE_SECONDS
    # Twice in a row, because one that is forked while the others are killed is seen only then.
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:  # noqa: PLR2004
        quiet = 0 if kill_marked(mark, folder) else quiet + 1
        time.sleep(0.02)
    remove_unfinished(folder)
    remove_sockets(folder)
    shutil.rmtree(folder, ignore_errors=True)


def remove_sockets(folder: str) -> None:
    """Remove the folder of multiprocessing's sockets that the file `sockets` in `folder` names.

    The program itself does that at its end, if it is not killed.
    """
    from pathlib import Path

    with contextlib.suppress(OSError):
        sockets = Path(os.fsdecode(Path(folder, "sockets").read_bytes()))
        if sockets.name.startswith("pymp-"):
            shutil.rmtree(sockets, ignore_errors=True)


def remove_unfinished(folder: str) -> None:
    """Remove the folders of unfinished work that files `*.unfinished` in `folder` name."""
    from pathlib import Path

    with contextlib.suppress(OSError):
        for note in Path(folder).glob("*.unfinished"):
            track_task = Path(os.fsdecode(note.read_bytes()))
            if track_task.name == note.stem:
                shutil.rmtree(track_task, ignore_errors=True)


def _goodbye() -> bool:
    """Wait for the supervisor's word, which is True, or for its death."""
    watched: list[int] = [0]
    with contextlib.suppress(AttributeError, OSError):
        # A copy of the program, forked by itself, may hold the other end of the pipe open.
        watched.append(os.pidfd_open(os.getppid()))
    try:
        ready, _, _ = select.select(watched, [], [])
        return 0 in ready and bool(os.read(0, 1))
    except OSError:  # Windows waits on no pipe in this way
        with contextlib.suppress(OSError):
            return bool(os.read(0, 1))
    return False


def marked(mark: str, folder: str) -> "list[psutil.Process]":
    """List the living processes of the household but this one."""
    import psutil

    found = []
    for process in psutil.process_iter():
        # psutil raises errors of other kinds for processes that are just ending.
        with contextlib.suppress(psutil.Error, OSError, RuntimeError, ValueError):
            if process.environ().get(mark) == folder and process.status() not in {"zombie", "dead"}:
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def kill_marked(mark: str, folder: str) -> int:
    """Kill every process of the household but this one; give their number."""
    import psutil

    victims = marked(mark, folder)
    for process in victims:
        with contextlib.suppress(psutil.Error, OSError):
            process.kill()
    return len(victims)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

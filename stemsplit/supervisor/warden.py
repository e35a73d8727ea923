"""Runs in the warden. Waits for the supervisor's death, then ends all that it has started.

A program of its own: `python warden.py MARK FOLDER`. Its standard input is a pipe from the
supervisor. One byte on it means that the supervisor has cleaned up, and ends the warden. The end of
the pipe without it means that the supervisor is dead: every process that bears the household's
mark, the variable MARK with the value FOLDER in its environment, is killed, however it hangs and
whoever its parent is by then, and FOLDER is removed. (Jenkins finds what its jobs leave behind in
the same way.) Imports nothing heavy until then: it takes some 5 MiB.
"""

import os
import shutil
import sys
import time

_PATIENCE_SECONDS = 10.0


def main(mark: str, folder: str) -> None:
    """Wait, and clean up if nobody else can."""
    try:
        goodbye = os.read(0, 1)
    except OSError:
        goodbye = b""
    if goodbye:
        return
    deadline = time.monotonic() + _PATIENCE_SECONDS
    # Twice in a row, because one that is forked while the others are killed is seen only then.
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:  # noqa: PLR2004
        quiet = 0 if kill_marked(mark, folder) else quiet + 1
        time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


def kill_marked(mark: str, folder: str, spared: frozenset[int] = frozenset()) -> int:
    """Kill every process of the household but this one and those in `spared`; give their number."""
    import psutil

    killed = 0
    for process in psutil.process_iter():
        if process.pid in spared or process.pid == os.getpid():
            continue
        try:
            if process.environ().get(mark) == folder and not _is_dead(process.status()):
                process.kill()
                killed += 1
        except (psutil.Error, OSError):
            continue
    return killed


def _is_dead(status: str) -> bool:
    return status in {"zombie", "dead"}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

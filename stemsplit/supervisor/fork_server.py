"""Runs in the supervisor. Starts, checks and kills multiprocessing's fork server.

`multiprocessing` has one fork server per program and no public interface to query or end it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from multiprocessing import forkserver, util
from pathlib import Path
from typing import Any

from stemsplit.core.compat import multiprocessing_imports_safely
from stemsplit.storage.temporary_folders import is_locked, lock_folder, remove_stale
from stemsplit.supervisor.process_start import CannotStartError, interrupts_blocked
from stemsplit.supervisor.session import SESSION

_MAX_SOCKET_PATH_BYTES = 103
"""Longest path of a socket: 107 bytes on Linux (unix(7)), 103 on macOS."""

_SOCKET_NAME_BYTES = len("/listener-12345678")


def start(scratch: Path) -> None:
    """Start the fork server unless it runs; it imports its preload in the background.

    Args:
        scratch: folder of the session, where the watchdog finds the path of the sockets.

    Raises:
        CannotStartError: if the system does not start it.
    """
    # Before Python 3.13 the server does not receive the `sys.path` of this process, without which
    # it may not find the package.
    path = os.pathsep.join(entry for entry in sys.path if entry and os.pathsep not in entry)
    try:
        (scratch / "sockets").write_bytes(os.fsencode(socket_folder()))
        with (
            SESSION.environment(PYTHONPATH=path),
            multiprocessing_imports_safely(),
            interrupts_blocked(),
        ):
            forkserver.ensure_running()
    except OSError as error:
        raise CannotStartError.of(error) from error
    SESSION.fork_server_pid = _pid()


def kill() -> None:
    """Kill the fork server, even during its imports."""
    server, pid = _server(), _pid()
    if sys.platform != "win32" and pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(FileNotFoundError):  # a cleaner has removed the socket
        server._stop()  # noqa: SLF001
    server._forkserver_address = None  # noqa: SLF001
    SESSION.fork_server_pid = None


def is_alive() -> bool:
    """Return whether the fork server runs, without reaping it: multiprocessing does that."""
    pid = _pid()
    if sys.platform == "linux" and pid is not None:
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    return False


def is_foreign() -> bool:
    """Return whether the program itself has started the fork server, for another purpose."""
    pid = _pid()
    return pid is not None and pid != SESSION.fork_server_pid


def socket_folder() -> Path:
    """Return multiprocessing's folder of sockets; create it if a cleaner has removed it.

    It belongs to the whole program and is removed at its exit. If the program is killed, the
    watchdog removes it, or else the next program that starts a fork server.
    """
    remove_stale("pymp-")
    folder = Path(util.get_temp_dir())
    if not is_locked(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock_folder(folder)  # for the life of this process
    return folder


def has_room_for_sockets() -> bool:
    """Return whether the path of a fork server's socket is short enough for the system."""
    try:
        folder = os.fsencode(Path(tempfile.gettempdir(), "pymp-12345678"))
    except OSError:  # no temporary folder, which the creation of one reports
        return True
    return len(folder) + _SOCKET_NAME_BYTES <= _MAX_SOCKET_PATH_BYTES


def _server() -> Any:  # noqa: ANN401 - the standard library declares no type for it
    return forkserver._forkserver  # noqa: SLF001


def _pid() -> int | None:
    pid: int | None = _server()._forkserver_pid  # noqa: SLF001
    return pid

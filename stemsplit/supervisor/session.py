"""Runs in the supervisor. The session: all processes and temporary files of this program's pools.

Every process of the session has the path of the session's folder in its environment, and so has
every process that it starts in turn. A process that has left its parent is found by this variable:
by the supervisor after each child's exit, and by the watchdog after the supervisor's. The folder
also receives the error of a process that cannot reach the supervisor in any other way.

A program has one session however many pools it has, because multiprocessing has one fork server.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from stemsplit.core.child_entry import SESSION_VARIABLE
from stemsplit.core.compat import multiprocessing_imports_safely
from stemsplit.core.errors import StemsplitError, UsageError
from stemsplit.storage.temporary_folders import TemporaryFolder
from stemsplit.supervisor import watchdog
from stemsplit.supervisor.process_start import CannotStartError
from stemsplit.supervisor.watchdog_launcher import WatchdogProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHILD_ENVIRONMENT = {
    # These libraries start threads when they are imported, and a process with threads must not be
    # forked. The engine receives its number of threads when it is loaded.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}

_STARTUP_ERROR_FILE = "startup-error"

NO_MAIN_GUARD = (
    "A child process ran the calling program from the beginning, and so called stemsplit itself."
)
MAIN_GUARD = (
    'Put the part of the program that uses stemsplit under `if __name__ == "__main__":`, because '
    "every child process imports the program's main module."
)


class Session:
    """What the pools of a program share, from the first launcher to the last.

    Attributes:
        lock: protects everything that the pools share.
        fork_server_pid: PID of the fork server that a launcher has started; None if there is none.
        restore_count: how often the folder was removed by others and created again.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self.lock = threading.RLock()
        self.fork_server_pid: int | None = None
        self.restore_count = 0
        self._launchers = 0
        self._watchdog: WatchdogProcess | None = None
        self._temporary: TemporaryFolder | None = None
        self._replaced_environment: dict[str, str | None] = {}

    def enter(self) -> None:
        """Add a launcher; the first one creates the folder and starts the watchdog.

        Raises:
            StemsplitError: if either fails; the launcher is not added then.
        """
        refuse_inside_child()
        with self.lock:
            if self._launchers == 0:
                # Started outside of the session, because it belongs to the whole program.
                if sys.platform != "win32":
                    try:
                        with multiprocessing_imports_safely():
                            resource_tracker.ensure_running()
                    except OSError as error:
                        raise CannotStartError.of(error) from error
                self._temporary = TemporaryFolder("stemsplit-session-", watchdog.remove_leftovers)
                try:
                    self._watchdog = WatchdogProcess(self._temporary.path)
                except BaseException:
                    self._remove_folder()
                    raise
            self._launchers += 1

    @property
    def has_one_launcher(self) -> bool:
        """Whether the next `leave` ends the session."""
        return self._launchers == 1

    def leave(self) -> None:
        """Remove a launcher; the last one ends all processes and removes the folder."""
        with self.lock:
            self._launchers -= 1
            if self._launchers:
                return
            # Before the watchdog, because nothing may run without it.
            watchdog.kill(self._processes())
            if self._watchdog is not None:
                self._watchdog.stop()
                self._watchdog = None
            self._remove_folder()

    def restore(self) -> None:
        """Restart the watchdog if it has died, and create the folder again if it was removed.

        Raises:
            StemsplitError: if that fails.
        """
        with self.lock:
            if self._temporary is None:
                return
            if self._watchdog is not None:
                self._watchdog.restart_if_dead()
            self.restore_count += self._temporary.restore()

    def reset_after_fork(self) -> None:
        """Start afresh in a forked copy of the program: everything belongs to its parent."""
        _restore_environment(self._replaced_environment)
        self.__init__()  # type: ignore[misc]

    @property
    def folder(self) -> Path | None:
        """Folder of the session; None without a launcher."""
        return None if self._temporary is None else self._temporary.path

    def _remove_folder(self) -> None:
        if self._temporary is not None:
            self._temporary.remove()
            self._temporary = None

    def service_pids(self) -> frozenset[int]:
        """Return the PIDs of the processes that serve all pools."""
        pids = {self.fork_server_pid, self._watchdog.pid if self._watchdog else None}
        return frozenset(pid for pid in pids if pid is not None)

    @contextlib.contextmanager
    def environment(self, **more: str) -> Iterator[None]:
        """Set the environment that new processes inherit, and restore it afterwards."""
        new = _CHILD_ENVIRONMENT | more
        if self.folder is not None:
            new[SESSION_VARIABLE] = str(self.folder)
        with self.lock:
            self._replaced_environment = {name: os.environ.get(name) for name in new}
            os.environ.update(new)
            try:
                yield
            finally:
                _restore_environment(self._replaced_environment)
                self._replaced_environment = {}

    def startup_error(self) -> str:
        """Return the error that a child without a pipe has written; empty if there is none."""
        if self.folder is None:
            return ""
        try:
            return (self.folder / _STARTUP_ERROR_FILE).read_text()
        except OSError:
            return ""

    def kill_strays(self) -> None:
        """Kill processes of the session that have left this process's tree."""
        with contextlib.suppress(StemsplitError):  # the next start reports it
            self.restore()
        processes = self._processes()
        if not processes:
            return
        with contextlib.suppress(psutil.Error):
            # Listed second, so that a process that is started meanwhile is not taken for a stray.
            descendants = {child.pid for child in psutil.Process().children(recursive=True)}
            watchdog.kill([process for process in processes if process.pid not in descendants])

    def _processes(self) -> list[psutil.Process]:
        if self.folder is None:
            return []
        return watchdog.session_processes(SESSION_VARIABLE, str(self.folder))


def _restore_environment(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


SESSION = Session()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SESSION.reset_after_fork)


def refuse_inside_child() -> None:
    """Raise an error if this process belongs to another process's session, and record it there.

    A child imports the program's main module. Without the guard of its main module, that import
    would start children in turn, endlessly.

    Raises:
        UsageError: with the change that the program needs.
    """
    folder = os.environ.get(SESSION_VARIABLE)
    if folder is None or folder == str(SESSION.folder):
        return
    with contextlib.suppress(OSError):
        (Path(folder) / _STARTUP_ERROR_FILE).write_text(NO_MAIN_GUARD)
    raise UsageError(NO_MAIN_GUARD, MAIN_GUARD)

"""Runs in the supervisor. Starts, replaces and stops the watchdog."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

from stemsplit.core.child_entry import SESSION_VARIABLE
from stemsplit.core.compat import safe_path
from stemsplit.supervisor import watchdog
from stemsplit.supervisor.process_start import CannotStartError

if TYPE_CHECKING:
    from pathlib import Path


class WatchdogProcess:
    """The running watchdog of a session.

    Args:
        folder: folder of the session.

    Raises:
        CannotStartError: if it cannot be started.
    """

    def __init__(self, folder: Path) -> None:
        """Start the watchdog."""
        self._folder = folder
        self._process = self._start()

    @property
    def pid(self) -> int:
        """PID of the watchdog."""
        return self._process.pid

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(  # noqa: S603 - our own program
                [
                    *(sys.executable, *safe_path(), watchdog.__file__),
                    *(SESSION_VARIABLE, str(self._folder)),
                ],
                stdin=subprocess.PIPE,
                # Ctrl-C in a terminal must not reach it.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            raise CannotStartError.of(error) from error

    def restart_if_dead(self) -> None:
        """Start the watchdog again if it has exited; raises `CannotStartError`."""
        if self._process.poll() is not None:
            self._process.communicate()  # closes the pipe
            self._process = self._start()

    def stop(self) -> None:
        """Signal the watchdog that the supervisor has cleaned up, and wait for its exit."""
        with contextlib.suppress(OSError, ValueError):  # the pipe may be broken or closed
            self._process.communicate(b"\n")
        self._process.wait()

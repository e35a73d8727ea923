"""Runs in the supervisor. Terminates a child with all its descendants."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Protocol

import psutil

from stemsplit.core.messages import STOP
from stemsplit.supervisor.session import SESSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.supervisor.launcher import Child

_STACK_SIGNAL = getattr(signal, "SIGUSR1", None)
"""Makes a child write its stacks into its log (`stemsplit.child.process`)."""


class ProcessHandle(Protocol):
    """How the pool acts on a child; tests substitute it."""

    def dump_stacks(self) -> None:
        """Make the child write the stacks of its threads into its log."""

    def ask(self) -> None:
        """Ask the child to exit."""

    def terminate(self) -> None:
        """Send SIGTERM to the child and its descendants."""

    def kill(self) -> None:
        """Send SIGKILL to the child and its descendants."""

    def kill_leftovers(self) -> None:
        """Kill what the child has left behind, after its exit."""


class SystemProcessHandle:
    """Acts on real processes."""

    def __init__(self, child: Child) -> None:
        """Identify the process, so that a later one with the same PID is never signalled."""
        self._child = child
        self._processes: set[psutil.Process] = set()
        with contextlib.suppress(psutil.Error):
            self._processes.add(psutil.Process(child.pid))

    def dump_stacks(self) -> None:
        """See `ProcessHandle.dump_stacks`."""
        # Early in its start a child dies of the signal, which does no harm: it is stalled.
        if _STACK_SIGNAL is not None:
            with contextlib.suppress(OSError):
                os.kill(self._child.pid, _STACK_SIGNAL)

    def ask(self) -> None:
        """See `ProcessHandle.ask`."""
        with contextlib.suppress(OSError):
            self._child.pipe.send_bytes(STOP)

    def terminate(self) -> None:
        """See `ProcessHandle.terminate`."""
        self._for_each(psutil.Process.terminate)

    def kill(self) -> None:
        """See `ProcessHandle.kill`."""
        self._for_each(psutil.Process.kill)

    def kill_leftovers(self) -> None:
        """See `ProcessHandle.kill_leftovers`."""
        # Kills the child too: multiprocessing reports it dead if only the fork server is.
        self.kill()
        SESSION.kill_strays()

    def _for_each(self, act: Callable[[psutil.Process], object]) -> None:
        for process in list(self._processes):
            with contextlib.suppress(psutil.Error):
                self._processes.update(process.children(recursive=True))
        for process in self._processes:
            # psutil refuses to signal another process that has reused the PID.
            with contextlib.suppress(psutil.Error):
                act(process)

"""Runs in the supervisor. Ends a child with all that it has started, and sees that it is gone."""

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
"""What a child answers by writing its stacks into its log (`stemsplit.child.process`)."""


class ProcessHandle(Protocol):
    """How the pool acts on one child; tests put something else in its place."""

    def dump_stacks(self) -> None:
        """Make it write the stacks of its threads into its log."""

    def ask(self) -> None:
        """Ask it to end soon."""

    def terminate(self) -> None:
        """Send SIGTERM to it and to all that it has started."""

    def kill(self) -> None:
        """Send SIGKILL likewise."""

    def bury(self) -> None:
        """Now that it has ended, end what it has left behind."""


class SystemProcessHandle:
    """Acts on real processes."""

    def __init__(self, child: Child) -> None:
        """Remember which process it is, so that a later one of that number is left alone."""
        self._child = child
        self._family: set[psutil.Process] = set()
        with contextlib.suppress(psutil.Error):
            self._family.add(psutil.Process(child.pid))

    def dump_stacks(self) -> None:
        """See `ProcessHandle.dump_stacks`."""
        # One that has not come far yet would die of the signal, which is as well; it is stalled.
        if _STACK_SIGNAL is not None:
            with contextlib.suppress(OSError):
                os.kill(self._child.pid, _STACK_SIGNAL)

    def ask(self) -> None:
        """See `ProcessHandle.ask`."""
        with contextlib.suppress(OSError):
            self._child.pipe.send_bytes(STOP)

    def terminate(self) -> None:
        """See `ProcessHandle.terminate`."""
        self._each(psutil.Process.terminate)

    def kill(self) -> None:
        """See `ProcessHandle.kill`."""
        self._each(psutil.Process.kill)

    def bury(self) -> None:
        """See `ProcessHandle.bury`."""
        # The child itself too: to multiprocessing it is dead when only the fork server is.
        self.kill()
        SESSION.sweep()

    def _each(self, act: Callable[[psutil.Process], object]) -> None:
        for process in list(self._family):
            with contextlib.suppress(psutil.Error):
                self._family.update(process.children(recursive=True))
        for process in self._family:
            # psutil refuses to signal another process that has got the same number since.
            with contextlib.suppress(psutil.Error):
                act(process)

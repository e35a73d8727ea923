"""Runs in the supervisor. Starts children, each with its own pipes, by fork server or by spawn.

On Linux a fork server imports the engine's libraries once, without running them, and forks children
that are ready in a fraction of a second and share its memory. Forking is not safe on macOS and does
not exist on Windows; there each child is spawned and imports the libraries itself.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from stemsplit.core.child_entry import PRELOAD_DONE, READY_FILE, enter
from stemsplit.core.compat import make_pipe, multiprocessing_imports_safely
from stemsplit.core.errors import UsageError
from stemsplit.core.messages import encode_task
from stemsplit.supervisor import fork_server
from stemsplit.supervisor.process_start import (
    EXHAUSTED,
    CannotStartError,
    importable_main_module,
    interrupts_blocked,
    require_spare_files,
)
from stemsplit.supervisor.session import SESSION

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnContext
    from multiprocessing.process import BaseProcess
    from pathlib import Path
    from typing import Self

    from stemsplit.core.messages import Task

StartMethod = Literal["forkserver", "spawn"]

CHILD_PROGRAM = "stemsplit.child.main:main"

_MAX_SERVER_DEATHS = 3
"""Consecutive deaths of the fork server before children are spawned instead."""

_logger = logging.getLogger(__name__)


def usable_start_method(wanted: StartMethod | None = None) -> StartMethod:
    """Return `wanted`, or this system's default, or `spawn` if a fork server cannot be used.

    A fork server that the program has started for another purpose is not part of the session, so
    its children could not be found again.
    """
    method = wanted or ("forkserver" if sys.platform == "linux" else "spawn")
    if method == "forkserver" and (
        sys.platform != "linux"
        or fork_server.is_foreign()
        or not fork_server.has_room_for_sockets()
    ):
        return "spawn"
    return method


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A started child.

    Attributes:
        process: the child process.
        pipe: receives its messages and sends the request to exit.
        log_pipe: receives its log records.
    """

    process: BaseProcess
    pipe: Connection
    log_pipe: Connection

    @property
    def pid(self) -> int:
        """PID of the child."""
        if self.process.pid is None:
            raise ValueError("the child was not started")
        return self.process.pid


class Starter(Protocol):
    """What the pool needs to start children; tests substitute it."""

    def is_ready(self) -> bool:
        """Return whether a child that is started now begins immediately."""

    def start(self, task: Task) -> Child:
        """Start a child for `task`."""

    def fork_server_pid(self) -> int:
        """Return the PID of the fork server that starts children now; 0 if there is none."""

    def has_lost_server(self, pid: int) -> bool:
        """Return whether the fork server that has started a child, with this PID, is gone."""

    def startup_error(self) -> str:
        """Return the error of a child that died before it could send it; empty if none."""


class Launcher:
    """Starts children. A context manager; the last one to exit kills the fork server.

    `multiprocessing` has one fork server per program, which all launchers share. If the program
    already runs its own, children are spawned instead (`usable_start_method`).

    Args:
        preload: modules for the fork server to import before the first child.
        start_method: `forkserver` or `spawn`; None for the better one on this system.
        program: `module:function` that a child runs.
        server_seconds: time limit of the fork server's imports. After that, it is replaced by one
            that imports nothing, and each child imports the modules itself.
    """

    def __init__(
        self,
        preload: tuple[str, ...],
        *,
        start_method: StartMethod | None = None,
        program: str = CHILD_PROGRAM,
        server_seconds: float = 120.0,
    ) -> None:
        """Choose the start method; start nothing yet.

        Raises:
            UsageError: in a daemonic process, which multiprocessing does not allow to start others.
        """
        if multiprocessing.current_process().daemon:
            raise UsageError(
                "stemsplit cannot start processes from a daemonic process, such as a worker of "
                "multiprocessing.Pool or of Celery's default pool.",
                "Call it from the main process, a thread, concurrent.futures.ProcessPoolExecutor, "
                "or a Celery worker with --pool threads or solo.",
            )
        self.start_method = usable_start_method(start_method)
        self._preload = preload
        self._program = program
        self._server_seconds = server_seconds
        self._preload_deadline = 0.0
        self._server_deaths = 0
        self._restore_count = SESSION.restore_count
        # The context of a fork server, which Windows lacks, has the same methods.
        context: Any = multiprocessing.get_context(self.start_method)
        self._context: SpawnContext = context

    def __enter__(self) -> Self:
        """Start the fork server, which imports its preload in the background.

        Raises:
            UsageError: in a child, if the program lacks the guard of its main module.
        """
        with SESSION.lock:
            SESSION.enter()
            try:
                if self.start_method == "forkserver":
                    self._start_server(self._preload)
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_exception: object) -> None:
        """Kill the fork server, which holds hundreds of megabytes, if no launcher needs it."""
        with SESSION.lock:
            if SESSION.has_one_launcher and SESSION.fork_server_pid is not None:
                fork_server.kill()
                with contextlib.suppress(OSError):
                    fork_server.socket_folder()  # multiprocessing removes it at exit
            SESSION.leave()

    @property
    def scratch(self) -> Path:
        """Folder for small files, removed with the last launcher or after the supervisor's death.

        Raises:
            ValueError: if the launcher has not been entered.
        """
        if SESSION.folder is None:
            raise ValueError("the launcher has not been entered")
        return SESSION.folder

    def is_ready(self) -> bool:
        """Return whether the fork server, if there is one, has finished its imports.

        Replaces one that has died. Never waits: waiting for the imports would delay the supervision
        of all other children.
        """
        SESSION.restore()
        if self.start_method != "forkserver":
            return True
        with SESSION.lock:
            was_emptied = self._restore_count != SESSION.restore_count
            self._restore_count = SESSION.restore_count
            is_done = self._ready_file.exists()
            if fork_server.is_alive() and not was_emptied:
                if is_done:
                    self._server_deaths = 0
                if is_done or time.monotonic() < self._preload_deadline:
                    return is_done
            fork_server.kill()
            self._server_deaths += 1
            if self._server_deaths >= _MAX_SERVER_DEATHS:
                # Something on this system kills every fork server.
                _logger.warning(
                    "the fork server died %d times; children are spawned from now on",
                    self._server_deaths,
                )
                self.start_method = "spawn"
                self._context = multiprocessing.get_context("spawn")
                return True
            self._ready_file.unlink(missing_ok=True)
            # A server that did not finish its imports would not finish them the next time either.
            self._start_server(self._preload if is_done or was_emptied else ())
        return False

    def fork_server_pid(self) -> int:
        """See `Starter.fork_server_pid`."""
        return (SESSION.fork_server_pid or 0) if self.start_method == "forkserver" else 0

    def has_lost_server(self, pid: int) -> bool:
        """See `Starter.has_lost_server`."""
        return self.start_method == "forkserver" and (
            pid != self.fork_server_pid() or not fork_server.is_alive()
        )

    def startup_error(self) -> str:
        """See `Starter.startup_error`."""
        return SESSION.startup_error()

    def start(self, task: Task) -> Child:
        """Start a child for `task`.

        Raises:
            CannotStartError: if the system starts no further process, or the fork server keeps
                dying.
        """
        require_spare_files()
        try:
            return self._start(task)
        except (EOFError, OSError) as error:
            if getattr(error, "errno", None) in EXHAUSTED:
                raise CannotStartError.of(error) from error
            # The server has died since `is_ready`, or its socket was removed.
            with SESSION.lock:
                SESSION.restore()
                if self.start_method == "forkserver":
                    fork_server.kill()
                    self._start_server(self._preload)
        try:
            return self._start(task)
        except (EOFError, OSError) as error:
            raise CannotStartError.of(error) from error

    @property
    def _ready_file(self) -> Path:
        return self.scratch / READY_FILE

    def _start_server(self, preload: tuple[str, ...]) -> None:
        self._context.set_forkserver_preload([*preload, PRELOAD_DONE])
        self._preload_deadline = time.monotonic() + self._server_seconds
        fork_server.start(self.scratch)

    def _start(self, task: Task) -> Child:
        pipe, child_pipe = make_pipe(self._context, duplex=True)
        log_pipe, child_log_pipe = make_pipe(self._context, duplex=False)
        process = self._context.Process(
            target=enter,
            args=(self._program, child_pipe, child_log_pipe, encode_task(task), task.log_file),
            daemon=True,
        )
        try:
            with (
                self._child_environment(),
                multiprocessing_imports_safely(),
                interrupts_blocked(),
                importable_main_module(),
            ):
                process.start()
        except BaseException:
            # A blocked interrupt is raised here, when nothing else refers to this child yet.
            if process.pid is not None and process.is_alive():
                process.kill()
                process.join()
            for connection in (pipe, log_pipe):
                connection.close()
            raise
        finally:
            child_pipe.close()
            child_log_pipe.close()
        return Child(process=process, pipe=pipe, log_pipe=log_pipe)

    def _child_environment(self) -> contextlib.AbstractContextManager[None]:
        """Set a child's environment; the children of a fork server inherit the server's."""
        if self.start_method == "forkserver" and fork_server.is_alive():
            return contextlib.nullcontext()
        return SESSION.environment()

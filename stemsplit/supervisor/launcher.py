"""Runs in the supervisor. Starts children, by fork server or by spawn, each with pipes of its own.

On Linux a fork server imports the engine's libraries once, runs nothing in them, and gives children
that are ready in a fraction of a second and share its memory. Forking is not safe on macOS and does
not exist on Windows; there each child is spawned and imports for itself.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from stemsplit.core.child_entry import READY_FILE, enter
from stemsplit.core.compat import multiprocessing_imports_safely
from stemsplit.core.errors import UsageError
from stemsplit.core.messages import encode_task
from stemsplit.storage import temporary
from stemsplit.supervisor.session import NO_MORE, SESSION, CannotStartError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess
    from typing import Self

    from stemsplit.core.messages import Task

StartMethod = Literal["forkserver", "spawn"]

CHILD_PROGRAM = "stemsplit.child.main:main"

_MOST_DEATHS = 3
"""Of the fork server in a row, before children are spawned."""

_FILES_FOR_A_CHILD = 12
"""Open files that a start takes for a moment, and what the journal and logs may need meanwhile."""

_MOST_SOCKET_BYTES = 103
"""Of the path of a socket: 107 on Linux (unix(7)), 103 on macOS."""

_SOCKET_NAME_BYTES = len("/listener-12345678")

_logger = logging.getLogger(__name__)

PRELOADED = "stemsplit.child.fork_server_preload"
"""The last module of a preload: it tells that the others are imported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A started child.

    Attributes:
        process: to wait for and to end.
        pipe: its messages, and the way to ask it to end.
        log_pipe: what it logs.
    """

    process: BaseProcess
    pipe: Connection
    log_pipe: Connection

    @property
    def pid(self) -> int:
        """Its process number."""
        if self.process.pid is None:
            raise ValueError("the child was not started")
        return self.process.pid


class Starter(Protocol):
    """What the pool starts children with; tests put something else in its place."""

    def ready(self) -> bool:
        """Tell whether a child that is started now begins at once."""

    def start(self, task: Task) -> Child:
        """Start a child for `task`."""

    def generation(self) -> int:
        """Give a number of what bears children now."""

    def has_lost(self, generation: int) -> bool:
        """Tell whether what has borne a child of that generation is gone."""

    def complaint(self) -> str:
        """Give what a child said that died before it could speak; empty if nothing."""


class Launcher:
    """Starts children. A context manager: at its end the fork server is gone.

    `multiprocessing` has one fork server a program. Where the program runs one of its own already,
    children are spawned instead: a server that was started by somebody else knows nothing of the
    household. Several launchers share one server, which ends with the last of them.

    Args:
        preload: modules for the fork server to import before the first child.
        start_method: `forkserver` or `spawn`; the better one of this system if None.
        program: `module:function` that a child runs.
        server_seconds: how long the fork server may take over its imports; after that it is
            replaced by one that imports nothing, and each child imports for itself.
    """

    def __init__(
        self,
        preload: tuple[str, ...],
        *,
        start_method: StartMethod | None = None,
        program: str = CHILD_PROGRAM,
        server_seconds: float = 120.0,
    ) -> None:
        """Choose the start method; nothing is started yet.

        Raises:
            UsageError: in a daemonic process, which multiprocessing lets start no others.
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
        self._waits_until = 0.0
        self._deaths = 0
        self._restored = SESSION.restored
        self._context: ForkServerContext | SpawnContext = (
            multiprocessing.get_context("forkserver")
            if self.start_method == "forkserver"
            else multiprocessing.get_context("spawn")
        )

    def __enter__(self) -> Self:
        """Start the fork server, which then imports while the supervisor goes on.

        Raises:
            UsageError: in a child, where the program lacks the guard of its main module.
        """
        with SESSION.lock:
            SESSION.enter()
            try:
                if self.start_method == "forkserver":
                    self._run_server((*self._preload, PRELOADED))
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_exception: object) -> None:
        """End the fork server: it holds hundreds of megabytes that nobody needs any more."""
        with SESSION.lock:
            if SESSION.is_last and SESSION.fork_server_pid is not None:
                _end_fork_server()
                with contextlib.suppress(OSError):
                    _socket_folder()  # multiprocessing will want to remove it
            SESSION.leave()

    @property
    def scratch(self) -> Path:
        """A folder for small files, which goes with the last launcher or with the supervisor."""
        if SESSION.folder is None:
            raise ValueError("the launcher has not been entered")
        return SESSION.folder

    def ready(self) -> bool:
        """Tell whether the fork server, where there is one, has done its imports.

        One that has ended is started again. Nothing here waits: a start that had to wait for the
        server's imports would hold up the supervision of everything else.
        """
        SESSION.tend()
        if self.start_method != "forkserver":
            return True
        with SESSION.lock:
            was_emptied = self._restored != SESSION.restored
            self._restored = SESSION.restored
            done = self._ready_file.exists()
            if _fork_server_is_alive() and not was_emptied:
                if done:
                    self._deaths = 0
                if done or time.monotonic() < self._waits_until:
                    return done
            _end_fork_server()
            self._deaths += 1
            if self._deaths >= _MOST_DEATHS:
                self._spawn_from_now_on()
                return True
            # One that never got ready would not do so the next time.
            keeps_preload = done or was_emptied
            self._ready_file.unlink(missing_ok=True)
            self._run_server((*self._preload, PRELOADED) if keeps_preload else (PRELOADED,))
        return False

    def _spawn_from_now_on(self) -> None:
        """Do without a fork server: something on this system ends it each time."""
        _logger.warning("the fork server has ended %d times; children are spawned", self._deaths)
        self.start_method = "spawn"
        self._context = multiprocessing.get_context("spawn")

    def generation(self) -> int:
        """Give the number of the fork server's process; 0 where children are spawned."""
        spawns = self.start_method != "forkserver"
        return 0 if spawns else SESSION.fork_server_pid or 0

    def has_lost(self, generation: int) -> bool:
        """See `Starter.has_lost`."""
        if self.start_method != "forkserver":
            return False
        return generation != self.generation() or not _fork_server_is_alive()

    def complaint(self) -> str:
        """See `Starter.complaint`."""
        return SESSION.complaint()

    def start(self, task: Task) -> Child:
        """Start a child for `task`.

        Raises:
            CannotStartError: if the system starts no further process, or the fork server cannot be
                kept alive.
        """
        _require_spare_files()
        try:
            return self._start(task)
        except (EOFError, OSError) as error:
            if getattr(error, "errno", None) in NO_MORE:
                raise CannotStartError.because_of(error) from error
            # Since `ready` the server has died, or its socket has gone.
            with SESSION.lock:
                SESSION.tend()
                if self.start_method == "forkserver":
                    _end_fork_server()
                    self._run_server((*self._preload, PRELOADED))
        try:
            return self._start(task)
        except (EOFError, OSError) as error:
            raise CannotStartError.because_of(error) from error

    @property
    def _ready_file(self) -> Path:
        return self.scratch / READY_FILE

    def _run_server(self, preload: tuple[str, ...]) -> None:
        """Start a fork server unless one of ours runs."""
        self._context.set_forkserver_preload(list(preload))
        self._waits_until = time.monotonic() + self._server_seconds
        try:
            self._ensure_server()
        except OSError as error:
            raise CannotStartError.because_of(error) from error
        SESSION.fork_server_pid = _fork_server()._forkserver_pid  # noqa: SLF001

    def _ensure_server(self) -> None:
        sockets = _socket_folder()
        (self.scratch / "sockets").write_bytes(os.fsencode(sockets))  # for the warden
        # Before Python 3.13 the server does not take over the path of this process, on which a
        # program may have put the package itself.
        path = os.pathsep.join(one for one in sys.path if one and os.pathsep not in one)
        with (
            SESSION.environment(PYTHONPATH=path),
            multiprocessing_imports_safely(),
            _interrupts_held(),
        ):
            forkserver.ensure_running()

    def _start(self, task: Task) -> Child:
        ours, theirs = self._context.Pipe(duplex=True)
        log_ours, log_theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=enter,
            args=(self._program, theirs, log_theirs, encode_task(task), task.log_file),
            daemon=True,
        )
        try:
            with (
                self._inherited(),
                multiprocessing_imports_safely(),
                _interrupts_held(),
                _main_module_can_be_imported(),
            ):
                process.start()
        except BaseException:
            # An interrupt that was held back comes out here; nobody else knows this child yet.
            if process.pid is not None and process.is_alive():
                process.kill()
                process.join()
            for pipe in (ours, log_ours):
                pipe.close()
            raise
        finally:
            theirs.close()
            log_theirs.close()
        return Child(process=process, pipe=ours, log_pipe=log_ours)

    def _inherited(self) -> contextlib.AbstractContextManager[None]:
        """Give the environment of a child; a fork server's children have the server's."""
        if self.start_method == "forkserver" and _fork_server_is_alive():
            return contextlib.nullcontext()
        return SESSION.environment()


def usable_start_method(wanted: StartMethod | None = None) -> StartMethod:
    """Give the start method that is wanted, or the better one of this system, if it can be."""
    method = wanted or default_start_method()
    if method == "forkserver" and (_runs_a_foreign_fork_server() or not _has_room_for_sockets()):
        return "spawn"
    return method


def _socket_folder() -> Path:
    """Give multiprocessing's folder of sockets, made anew if a cleaner has removed it.

    It is the whole program's, and goes with that. If the program is killed, the warden removes it,
    or the next program that starts a fork server.
    """
    temporary.remove_stale("pymp-")
    folder = Path(util.get_temp_dir())
    if not temporary.is_held(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.hold(folder)  # as long as this process lives
    return folder


def _has_room_for_sockets() -> bool:
    """Tell whether the path of a fork server's socket is as short as the system wants it."""
    try:
        folder = os.fsencode(Path(tempfile.gettempdir(), "pymp-12345678"))
    except OSError:  # there is none, which whoever makes one will tell
        return True
    return len(folder) + _SOCKET_NAME_BYTES <= _MOST_SOCKET_BYTES


def _require_spare_files() -> None:
    """Fail while there is still room for the files of what runs already.

    Raises:
        CannotStartError: if too few files can be opened for another child.
    """
    spare: list[int] = []
    try:
        spare.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(_FILES_FOR_A_CHILD))
    except OSError as error:
        raise CannotStartError.because_of(error) from error
    finally:
        for descriptor in spare:
            os.close(descriptor)


def default_start_method() -> StartMethod:
    """Give the start method that is safe and quick on this system."""
    return "forkserver" if sys.platform == "linux" else "spawn"


def _fork_server() -> Any:  # noqa: ANN401 - the standard library declares no type for it
    """Give the program's one fork server; there is no public way to ask for it or to end it."""
    return forkserver._forkserver  # noqa: SLF001


def _runs_a_foreign_fork_server() -> bool:
    """Tell whether the program has started a fork server for something else."""
    pid = _fork_server()._forkserver_pid  # noqa: SLF001
    return pid is not None and pid != SESSION.fork_server_pid


def _fork_server_is_alive() -> bool:
    """Tell without reaping it: multiprocessing does that itself."""
    pid = _fork_server()._forkserver_pid  # noqa: SLF001
    if pid is not None:
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    return False


def _end_fork_server() -> None:
    """End the fork server, also in the midst of its imports."""
    server = _fork_server()
    if server._forkserver_pid is not None:  # noqa: SLF001
        with contextlib.suppress(ProcessLookupError):
            os.kill(server._forkserver_pid, signal.SIGKILL)  # noqa: SLF001
    with contextlib.suppress(FileNotFoundError):  # a cleaner has removed the socket
        server._stop()  # noqa: SLF001
    server._forkserver_address = None  # noqa: SLF001
    SESSION.fork_server_pid = None


@contextlib.contextmanager
def _main_module_can_be_imported() -> Iterator[None]:
    """Hide the path of a main module that is no file, as of a program on standard input.

    A child would look for it and die (spawn.get_preparation_data in CPython).
    """
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if main is None or path is None or Path(path).is_file():
        yield
        return
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = path


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back from processes that are started meanwhile; they inherit the mask.

    A terminal sends it to them as well, and while they import they would answer with a traceback.
    The supervisor gets it as soon as this ends.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    with warnings.catch_warnings():  # one that has died is replaced; it keeps nothing of ours
        warnings.simplefilter("ignore")
        resource_tracker.ensure_running()  # now, because its start would let signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

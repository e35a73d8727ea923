"""Runs in the supervisor. Starts children, by fork server or by spawn, each with a pipe of its own.

On Linux a fork server imports the engine's libraries once, runs nothing in them, and gives children
that are ready in a fraction of a second and share its memory. Forking is not safe on macOS and does
not exist on Windows; there each child is spawned and imports for itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING, Any, Literal, Self

from stemsplit.entry import enter
from stemsplit.errors import EngineError
from stemsplit.messages import Task, encode_task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess

StartMethod = Literal["forkserver", "spawn"]

CHILD_PROGRAM = "stemsplit.child.main:main"

_CHILD_ENVIRONMENT = {
    # These libraries start their threads while they are imported, and a process that has threads
    # must not be forked. The engine is told its number of threads when it is loaded.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # glibc then returns every large array to the system when it is freed, instead of keeping it:
    # some 35 MiB less a child.
    "MALLOC_MMAP_THRESHOLD_": str(2**20),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A started child.

    Attributes:
        task: what it is to do.
        process: to wait for and to end.
        pipe: its messages; at end of file, it has closed its side.
    """

    task: Task
    process: BaseProcess
    pipe: Connection


class Launcher:
    """Starts children. A context manager: at its end the fork server is gone.

    `multiprocessing` has one fork server a program. Where the program runs one of its own already,
    that one is used as it is and left running; children then import for themselves.

    Args:
        preload: modules for the fork server to import before the first child.
        start_method: `forkserver` or `spawn`; the better one of this system if None.
        program: `module:function` that a child runs.
    """

    def __init__(
        self,
        preload: tuple[str, ...],
        *,
        start_method: StartMethod | None = None,
        program: str = CHILD_PROGRAM,
    ) -> None:
        """Choose the start method; nothing is started yet."""
        self.start_method: StartMethod = start_method or default_start_method()
        self._program = program
        self._owns_server = False
        self._context: ForkServerContext | SpawnContext = (
            multiprocessing.get_context("forkserver")
            if self.start_method == "forkserver"
            else multiprocessing.get_context("spawn")
        )
        self._context.set_forkserver_preload(list(preload))

    def __enter__(self) -> Self:
        """Start the fork server, which then imports while the supervisor goes on."""
        if self.start_method == "forkserver":
            self._owns_server = _fork_server()._forkserver_pid is None  # noqa: SLF001
            with child_environment(), _interrupts_held():
                forkserver.ensure_running()
        return self

    def __exit__(self, *_exception: object) -> None:
        """End the fork server: it holds hundreds of megabytes that nobody needs any more."""
        if self._owns_server:
            _end_fork_server()

    def start(self, task: Task) -> Child:
        """Start a child for `task`.

        Raises:
            EngineError: if the fork server cannot be kept alive.
        """
        try:
            return self._start(task)
        except (EOFError, OSError):
            # The server is gone: killed, or ended by what it imports. Without a preload the child
            # does the importing, and can say what is wrong with it.
            self._context.set_forkserver_preload(["stemsplit.entry"])
        try:
            return self._start(task)
        except (EOFError, OSError) as error:
            raise EngineError(
                f"No child process can be started ({type(error).__name__}: {error}).",
                "Close other programs; reinstall stemsplit if that does not help.",
            ) from error

    def _start(self, task: Task) -> Child:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=enter,
            args=(self._program, theirs, encode_task(task)),
            daemon=True,
        )
        try:
            with child_environment(), _interrupts_held():
                process.start()
        except BaseException:
            # An interrupt that was held back comes out here; nobody else knows this child yet.
            if process.is_alive():
                process.kill()
                process.join()
            raise
        theirs.close()
        return Child(task=task, process=process, pipe=ours)


def default_start_method() -> StartMethod:
    """Give the start method that is safe and quick on this system."""
    return "forkserver" if sys.platform == "linux" else "spawn"


def _fork_server() -> Any:  # noqa: ANN401 - the standard library declares no type for it
    """Give the program's one fork server; there is no public way to ask for it or to end it."""
    return forkserver._forkserver  # noqa: SLF001


def _end_fork_server() -> None:
    """End the fork server, also in the midst of its imports."""
    server = _fork_server()
    if server._forkserver_pid is not None:  # noqa: SLF001
        with contextlib.suppress(ProcessLookupError):
            os.kill(server._forkserver_pid, signal.SIGTERM)  # noqa: SLF001
    server._stop()  # noqa: SLF001


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back from processes that are started meanwhile; they inherit the mask.

    A terminal sends it to them as well, and while they import they would answer with a traceback.
    The supervisor gets it as soon as this ends.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Started now, because its start would let the signals through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def child_environment() -> Iterator[None]:
    """Set what new processes inherit, and leave the caller's own environment as it was."""
    before = {name: os.environ.get(name) for name in _CHILD_ENVIRONMENT}
    os.environ.update(_CHILD_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

"""Runs in the supervisor. Starts children, by fork server or by spawn, each with a pipe of its own.

On Linux a fork server imports the engine's libraries once, runs nothing in them, and gives children
that are ready in a fraction of a second and share its memory. Forking is not safe on macOS and does
not exist on Windows; there each child is spawned and imports for itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from dataclasses import dataclass
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Literal, Self

from stemsplit.entry import enter
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
        self._context: ForkServerContext | SpawnContext = (
            multiprocessing.get_context("forkserver")
            if self.start_method == "forkserver"
            else multiprocessing.get_context("spawn")
        )
        self._context.set_forkserver_preload(list(preload))

    def __enter__(self) -> Self:
        """Start the fork server, which then imports while the supervisor goes on."""
        if self.start_method == "forkserver":
            with child_environment():
                forkserver.ensure_running()
        return self

    def __exit__(self, *_exception: object) -> None:
        """End the fork server: it holds hundreds of megabytes that nobody needs any more."""
        if self.start_method == "forkserver":
            # The standard library has no public way to end it before the program ends.
            forkserver._forkserver._stop()  # type: ignore[attr-defined]  # noqa: SLF001

    def start(self, task: Task) -> Child:
        """Start a child for `task`."""
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=enter,
            args=(self._program, theirs, encode_task(task)),
            daemon=True,
        )
        with child_environment():
            process.start()
        theirs.close()
        return Child(task=task, process=process, pipe=ours)


def default_start_method() -> StartMethod:
    """Give the start method that is safe and quick on this system."""
    return "forkserver" if sys.platform == "linux" else "spawn"


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

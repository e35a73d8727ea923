"""Runs in the supervisor. The loop: start children, listen, judge, and never leave one behind.

Covers one attempt for each task, up to N at a time. It does not publish stems or decide what a
batch does next; it tells its caller what happened, event by event.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

import msgspec

from stemsplit.messages import Failed, Finished, Message, Task, decode
from stemsplit.supervisor.meter import tree_memory_bytes
from stemsplit.supervisor.verdict import Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from stemsplit.supervisor.launch import Child, Launcher

LOG_TAIL_BYTES = 4096
LARGEST_MESSAGE_BYTES = 2**20
"""Far more than any message; a child that announces more is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Every waiting time of the pool, in seconds, so that tests can shrink them.

    Attributes:
        sample: between two looks at the memory of the process tree.
        close: from a child's last word, or the end of its pipe, to its end, before it is killed.
        terminate: from SIGTERM to SIGKILL when the pool is closed.
    """

    sample: float = 0.5
    close: float = 10.0
    terminate: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A child was started for a task."""

    task: Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A child said something."""

    task: Task
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A child is gone.

    Attributes:
        task: what it was to do.
        verdict: how it ended.
        result: its stems, if the verdict is `done`.
        exit_code: as `multiprocessing` gives it.
        started: when, on the pool's clock.
        peak_memory_bytes: of the whole tree while it ran, None if it could not be read.
    """

    task: Task
    verdict: Verdict
    result: Finished | None
    exit_code: int
    started: float
    peak_memory_bytes: int | None


PoolEvent = Launched | Heard | Ended


@dataclass(slots=True, kw_only=True)
class _Running:
    child: Child
    started: float
    last_word: Finished | Failed | None = None
    pipe_open: bool = True
    overstayed: bool = False
    peak_memory_bytes: int | None = None
    must_end_by: float = field(default=float("inf"))


class Pool:
    """Runs tasks in children, up to `size` at a time.

    Args:
        launcher: starts the children.
        size: how many may run at once, at least 1.
        timings: waiting times.
        clock: monotonic seconds.
        memory: reads the memory of the tree below a process.
    """

    def __init__(
        self,
        launcher: Launcher,
        size: int,
        *,
        timings: Timings | None = None,
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[int], int | None] = tree_memory_bytes,
    ) -> None:
        """Keep the seams; nothing is started yet."""
        self._launcher = launcher
        self._size = size
        self._timings = timings or Timings()
        self._clock = clock
        self._memory = memory
        self._running: list[_Running] = []
        self._next_sample = 0.0

    def run(self, tasks: Iterable[Task]) -> Generator[PoolEvent, None, None]:
        """Run `tasks` in order, each in a child of its own, and yield what happens.

        A task is taken from `tasks` only when its child is about to start. If the iterator is
        closed early, or anything is raised in it, every child is ended before that goes on.
        """
        waiting = iter(tasks)
        exhausted = False
        try:
            while True:
                while not exhausted and len(self._running) < self._size:
                    task = next(waiting, None)
                    exhausted = task is None
                    if task is not None:
                        yield self._start(task)
                if not self._running:
                    return
                yield from self._turn()
        finally:
            self._end_all()

    def _start(self, task: Task) -> Launched:
        self._running.append(_Running(child=self._launcher.start(task), started=self._clock()))
        return Launched(task=task)

    def _turn(self) -> Iterator[PoolEvent]:
        pipes = [one.child.pipe for one in self._running if one.pipe_open]
        sentinels = [one.child.process.sentinel for one in self._running]
        wait([*pipes, *sentinels], timeout=self._timings.sample)
        self._sample_memory()
        for one in list(self._running):
            for message in self._messages(one):
                yield Heard(task=one.child.task, message=message)
            if self._clock() > one.must_end_by and one.child.process.is_alive():
                one.overstayed = True
                one.child.process.kill()
                one.child.process.join()
            if not one.child.process.is_alive():
                yield from self._judge(one)

    def _messages(self, one: _Running) -> Iterator[Message]:
        while one.pipe_open and one.child.pipe.poll():
            try:
                message = decode(one.child.pipe.recv_bytes(LARGEST_MESSAGE_BYTES))
            except (EOFError, OSError, msgspec.DecodeError):
                one.pipe_open = False
                one.must_end_by = self._clock() + self._timings.close
                return
            if isinstance(message, Finished | Failed):
                one.last_word = message
                one.must_end_by = self._clock() + self._timings.close
            yield message

    def _judge(self, one: _Running) -> Iterator[PoolEvent]:
        # Its last words may have come between the look at the pipe and the look at the process.
        for message in self._messages(one):
            yield Heard(task=one.child.task, message=message)
        self._running.remove(one)
        one.child.pipe.close()
        exit_code = one.child.process.exitcode or 0
        one.child.process.close()
        verdict = judge(
            one.last_word,
            exit_code,
            overstayed=one.overstayed,
            log=log_tail(one.child.task),
        )
        yield Ended(
            task=one.child.task,
            verdict=verdict,
            result=one.last_word if isinstance(one.last_word, Finished) else None,
            exit_code=exit_code,
            started=one.started,
            peak_memory_bytes=one.peak_memory_bytes,
        )

    def _sample_memory(self) -> None:
        if self._clock() < self._next_sample:
            return
        self._next_sample = self._clock() + self._timings.sample
        memory = self._memory(os.getpid())
        if memory is not None:
            for one in self._running:
                one.peak_memory_bytes = max(one.peak_memory_bytes or 0, memory)

    def _end_all(self) -> None:
        for one in self._running:
            one.child.process.terminate()
        deadline = self._clock() + self._timings.terminate
        for one in self._running:
            one.child.process.join(max(0.0, deadline - self._clock()))
            if one.child.process.is_alive():
                one.child.process.kill()
                one.child.process.join()
            one.child.pipe.close()
            one.child.process.close()
        self._running.clear()


def log_tail(task: Task) -> str:
    """Give the last of what a child printed, empty if nothing."""
    try:
        with task.log_path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")
    except OSError:
        return ""

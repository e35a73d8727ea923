"""Runs in the supervisor. The main loop of a pool: admit, start, receive, sample, act, finish.

Leaves the decisions to `gate`, `admission`, `attempt_transitions` and `retry`, and the files of a
track to its `TrackTask`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from stemsplit.core.compat import make_pipe
from stemsplit.core.errors import StemsplitError
from stemsplit.core.outcome import Reason
from stemsplit.core.text import mebibytes
from stemsplit.supervisor.attempt_end import AttemptFinisher
from stemsplit.supervisor.attempt_start import AttemptStarter, record_failed_start
from stemsplit.supervisor.attempt_state import SupervisorSuspended, Ticked
from stemsplit.supervisor.budget import memory_wait_expired
from stemsplit.supervisor.exit_diagnosis import CANCELLED, ExitDiagnosis
from stemsplit.supervisor.memory_guard import MemoryGuard
from stemsplit.supervisor.pool_interface import (
    GateDecision,
    Launched,
    LoopIterated,
    Noted,
    Retried,
    always_open,
)
from stemsplit.supervisor.process_start import CannotStartError
from stemsplit.supervisor.process_tree import SystemMeter
from stemsplit.supervisor.shutdown import terminate_all
from stemsplit.supervisor.termination import SystemProcessHandle
from stemsplit.supervisor.track_queue import QueuedTrack, TrackQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from stemsplit.supervisor.admission import WaitReason
    from stemsplit.supervisor.attempt import RunningAttempt
    from stemsplit.supervisor.launcher import Child, Starter
    from stemsplit.supervisor.pool_interface import Gate, PoolEvent, TrackEnded, TrackTask
    from stemsplit.supervisor.pool_plan import PoolPlan
    from stemsplit.supervisor.prediction import Footprint
    from stemsplit.supervisor.process_tree import Meter
    from stemsplit.supervisor.termination import ProcessHandle


class Pool:
    """Runs tracks in children; a generator yields the events.

    Args:
        starter: starts children.
        plan: concurrency, budget, limits and predictions.
        meter: reads the machine.
        process_handle: creates the handle that terminates a child.
        gate: called before each start.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        starter: Starter,
        plan: PoolPlan,
        *,
        meter: Meter | None = None,
        process_handle: Callable[[Child], ProcessHandle] = SystemProcessHandle,
        gate: Gate = always_open,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store the injected dependencies; start nothing yet."""
        self._starter = starter
        self._plan = plan
        self._meter = meter or SystemMeter()
        self._gate = gate
        self._clock = clock
        self._queue = TrackQueue()
        self._running: list[RunningAttempt] = []
        self._memory = MemoryGuard(self._meter, plan, clock())
        self._attempt_starter = AttemptStarter(starter, plan, self._meter, process_handle, clock)
        self._finisher = AttemptFinisher(starter, plan, self._meter, self._queue, clock)
        self._last_seen = clock()
        self._waiting_since: float | None = None
        self._is_draining = False
        self._is_stopping = False
        self._is_woken = False
        self._wake_reader, self._wake_writer = make_pipe(duplex=False)

    @property
    def peak_memory_bytes(self) -> int | None:
        """Peak memory of all processes together; None if never sampled."""
        return self._memory.sampler.peak_bytes

    def add(self, track_task: TrackTask) -> None:
        """Append a track to the queue. From any thread."""
        resources = self._plan.concurrency.resources
        self._queue.add(QueuedTrack(track_task=track_task, resources=resources))
        self._wake()

    def close(self) -> None:
        """Declare that no more tracks will be added, so `run` can end. From any thread."""
        self._queue.close()
        self._wake()

    def drain(self) -> None:
        """Start no more tracks, and finish the running ones. From any thread or signal handler.

        A child that has not begun to separate is killed; its track counts as not started.
        """
        self._is_draining = True
        self._wake()

    def stop(self) -> None:
        """Terminate all children now; `run` returns. From any thread or signal handler."""
        self._is_stopping = True
        self._wake()

    def cancel(self, track_task: TrackTask) -> None:
        """End a track as cancelled, and terminate its child if it has one. From any thread."""
        self._queue.cancel(track_task)
        self._wake()

    def unstarted(self) -> list[TrackTask]:
        """Return the queued tracks, and those that the gate has rejected."""
        return self._queue.unstarted()

    def rejected(self) -> list[TrackTask]:
        """Return the tracks that the gate has rejected."""
        return self._queue.rejected()

    def run(self) -> Generator[PoolEvent, None, None]:
        """Run all tracks and yield events, until none is left or the pool is stopped.

        All children are terminated before the generator ends, even if it is closed early or raises
        an exception.

        Raises:
            EngineError: if no child can be started.
            UsageError: if the program lacks the guard of its main module.
        """
        try:
            while not self._is_stopping:
                yield from self._cancel_and_withdraw()
                yield from self._admit()
                is_over = self._is_draining or (self._queue.is_closed and not self._queue)
                if is_over and not self._running:
                    return
                yield from self._iterate()
        finally:
            try:
                terminate_all(self._running, self._clock, self._plan.timings)
            finally:
                self._wake_reader.close()
                self._wake_writer.close()

    def _wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(OSError):
                self._wake_writer.send_bytes(b"!")

    def _cancel_and_withdraw(self) -> Iterator[TrackEnded]:
        cancelled, queued = self._queue.pop_cancelled()
        for attempt in self._running:
            if id(attempt.track.track_task) in cancelled:
                attempt.track.is_cancelled = True
                attempt.terminate(CANCELLED, self._clock())
        for track in queued:
            yield track.ended(CANCELLED)
        if self._is_draining:
            for attempt in self._running:
                attempt.withdraw(self._clock())

    def _admit(self) -> Iterator[PoolEvent]:
        """Start children for the first tracks in the queue, as many as may run now."""
        self._memory.recover(self._clock())
        if self._running or not self._queue:
            self._waiting_since = None
        while self._queue and not self._is_draining:
            if self._memory.is_full(self._running, self._clock()) or not self._is_starter_ready():
                return
            track = self._queue.first
            running = [attempt.track.track_task for attempt in self._running]
            match self._gate(track.track_task, track.resources, running):
                case GateDecision.WAIT:
                    self._waiting_since = None
                    return
                case GateDecision.NEVER:
                    self._queue.reject_first()
                    continue
                case ExitDiagnosis() as diagnosis:
                    yield self._queue.pop().ended(diagnosis)
                    continue
            refusal = self._plan.refusal(
                track.resources, track.track_task.audio_seconds, self._meter.host_memory
            )
            if refusal is not None:
                yield self._queue.pop().ended(refusal)
                continue
            reason = self._memory.wait_reason(
                self._running,
                self._clock(),
                expected_bytes=self._footprint(track).private_bytes,
                alone=track.resources.alone,
            )
            if reason is not None:
                if not self._running:
                    yield from self._wait_for_memory(track, reason)
                return
            self._waiting_since = None
            yield from self._start(self._queue.pop())

    def _is_starter_ready(self) -> bool:
        """Return whether a child can start; raises if the system starts none and none runs."""
        try:
            return self._starter.is_ready()
        except CannotStartError as error:
            if not self._may_wait(error):
                raise
            return False

    def _may_wait(self, error: CannotStartError) -> bool:
        """Return whether a failed start may succeed after a running child has exited."""
        return error.is_temporary and bool(self._running)

    def _footprint(self, track: QueuedTrack) -> Footprint:
        return self._plan.forecast.footprint(track.resources, track.track_task.audio_seconds)

    def _wait_for_memory(self, track: QueuedTrack, reason: WaitReason) -> Iterator[PoolEvent]:
        """Wait for other programs' memory while no child runs; end the track after a time limit."""
        now, limit = self._clock(), self._plan.timings.memory_wait
        footprint = self._footprint(track)
        if self._waiting_since is None:
            self._waiting_since = now
            yield Noted(
                text="waiting for memory: a track needs about "
                f"{mebibytes(footprint.alone_bytes)}, and {reason}"
            )
        elif now - self._waiting_since > limit:
            self._waiting_since = None
            self._queue.pop()
            host = self._meter.host_memory()
            error = memory_wait_expired(footprint, self._plan.budget, host, limit)
            diagnosis = ExitDiagnosis.of(error)
            if self._plan.forecast.workload.is_whole:  # a shorter track may still fit
                diagnosis = dataclasses.replace(diagnosis, reason=Reason.TOO_LARGE)
            yield track.ended(diagnosis)

    def _start(self, track: QueuedTrack) -> Iterator[PoolEvent]:
        number = len(track.attempts) + 1
        try:
            task = track.track_task.begin_attempt(number, track.resources)
        except StemsplitError as error:
            yield track.ended(ExitDiagnosis.of(error))
            return
        try:
            attempt = self._attempt_starter.start(track, task)
        except CannotStartError as error:
            if not self._may_wait(error):
                raise
            self._memory.limit_workers(len(self._running), self._clock())
            failed = record_failed_start(track, error)
            self._queue.requeue(track)
            yield Retried(track_task=track.track_task, attempt=failed, resources=track.resources)
            return
        self._running.append(attempt)
        yield Launched(
            track_task=track.track_task,
            number=number,
            resources=track.resources,
            ram_cap_bytes=attempt.rules.ram_cap_bytes,
        )

    def _iterate(self) -> Iterator[PoolEvent]:
        """Wait until something happens or a sample is due, and handle it."""
        pause = self._pause()
        pipes = [attempt.child.pipe for attempt in self._running if attempt.inbox.is_open]
        sentinels = [attempt.child.process.sentinel for attempt in self._running]
        if self._wake_reader in wait([self._wake_reader, *pipes, *sentinels], timeout=pause):
            self._wake_reader.recv_bytes()
            self._is_woken = False
        self._now(pause)
        events: list[PoolEvent] = []
        for attempt in self._running:
            events += attempt.receive(self._now())
        events += self._memory.sample(self._running, self._now())
        for attempt in list(self._running):
            attempt.handle(Ticked(now=self._now()))
            if not attempt.child.process.is_alive():
                events += self._finisher.finish(attempt, self._running, self._now)
        self._now()
        # Yielded last, so that the time that the caller takes falls between two iterations.
        yield from events
        yield LoopIterated()

    def _pause(self) -> float:
        timings = self._plan.timings
        if self._running:
            return min(timings.poll, self._memory.sampler.seconds_until_due(self._clock()))
        return timings.poll if self._starter.is_ready() else min(timings.poll, timings.poll_fastest)

    def _now(self, pause: float = 0.0) -> float:
        """Return the time; notify the attempts if this process was suspended since the last call.

        Args:
            pause: how long the loop may have waited since then.
        """
        now = self._clock()
        suspended = now - self._last_seen - pause
        self._last_seen = now
        if suspended > self._plan.timings.suspension:
            for attempt in self._running:
                attempt.handle(SupervisorSuspended(now=now, seconds=suspended))
        return now

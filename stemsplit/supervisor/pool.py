"""Runs in the supervisor. The loop: admit, start, listen, look, act, judge; leave none behind.

Decides nothing itself: `admission` says what may start, `lifecycle` what is to be done with a
child, `retry` what follows. Reads the world through `meter`, acts on it through `launch` and
`reap`. It does not know what a track's files are; a `TrackTask` does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from stemsplit.core.errors import StemsplitError, UsageError
from stemsplit.core.outcome import Attempt, Reason
from stemsplit.core.text import mebibytes
from stemsplit.supervisor import admission, attempt_logs, attempt_state, attempt_transitions, retry
from stemsplit.supervisor.attempt import Request, RunningAttempt, end_all
from stemsplit.supervisor.budget import no_room
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
from stemsplit.supervisor.inbox import Inbox
from stemsplit.supervisor.memory_sampling import MemorySampler
from stemsplit.supervisor.pool_interface import (
    GateDecision,
    Launched,
    LoopIterated,
    MemorySampled,
    MessageReceived,
    Noted,
    Retried,
    Withdrawn,
    always_open,
)
from stemsplit.supervisor.process_tree import SystemMeter
from stemsplit.supervisor.retry import engine_is_broken
from stemsplit.supervisor.session import MAIN_GUARD, CannotStartError
from stemsplit.supervisor.termination import SystemProcessHandle
from stemsplit.supervisor.track_queue import TrackQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Task
    from stemsplit.supervisor.launcher import Child, Starter
    from stemsplit.supervisor.pool_interface import Gate, PoolEvent, TrackEnded, TrackTask
    from stemsplit.supervisor.pool_plan import PoolPlan
    from stemsplit.supervisor.prediction import Footprint
    from stemsplit.supervisor.process_tree import Meter
    from stemsplit.supervisor.termination import ProcessHandle


_PATIENCE = 3.0
"""So many times as long as predicted may a child be silent whose work is one single step."""

_CANCELLED = ExitDiagnosis(reason=Reason.CANCELLED, message="It was cancelled.")


class Pool:
    """Runs tracks in children; a generator tells what happens.

    Args:
        starter: starts the children.
        plan: limits and how many.
        meter: reads the machine.
        process_handle: acts on a child.
        gate: is asked before each start.
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
        """Keep the seams; nothing is started yet."""
        self._starter = starter
        self._plan = plan
        self._meter = meter or SystemMeter()
        self._process_handle = process_handle
        self._gate = gate
        self._clock = clock
        self._watch = MemorySampler(
            self._meter,
            plan.timings,
            total_cap_bytes=plan.budget.total_bytes,
            low_bytes=plan.budget.min_free_bytes,
        )
        self._line = TrackQueue()
        self._running: list[RunningAttempt] = []
        self._throttle = admission.Throttle(
            workers=plan.concurrency.workers, most=plan.concurrency.workers, changed_at=clock()
        )
        self._tickets = 0
        self._last_seen = clock()
        self._held_since: float | None = None
        self._deaths_in_a_row = 0
        self._draining = False
        self._stopping = False
        self._woken = False
        self._wake_reader, self._wake_writer = Pipe(duplex=False)

    @property
    def peak_memory_bytes(self) -> int | None:
        """The largest memory of all processes together so far, None if it was never read."""
        return self._watch.peak_bytes

    def add(self, track_task: TrackTask) -> None:
        """Put a track at the end of the line. From any thread."""
        self._line.add(Request(track_task=track_task, resources=self._plan.concurrency.resources))
        self._wake()

    def close(self) -> None:
        """Accept that nothing more is added: `run` ends when all is done. From any thread."""
        self._line.close()
        self._wake()

    def drain(self) -> None:
        """Start nothing more, and let what works finish. From any thread or signal handler.

        A child that has not begun to separate is ended; its track counts as not started.
        """
        self._draining = True
        self._wake()

    def stop(self) -> None:
        """End every child now: `run` returns. From any thread or signal handler."""
        self._stopping = True
        self._wake()

    def cancel(self, track_task: TrackTask) -> None:
        """Settle a track as cancelled, and end its child if it has one. From any thread."""
        self._line.cancel(track_task)
        self._wake()

    def unstarted(self) -> list[TrackTask]:
        """List the tracks that are still in line, and those that the gate has turned away."""
        return self._line.unstarted()

    def turned_away(self) -> list[TrackTask]:
        """List the tracks that the gate has turned away."""
        return self._line.turned_away()

    def run(self) -> Generator[PoolEvent, None, None]:
        """Do the work and yield what happens, until there is none left or the pool is ended.

        If the generator is closed early, or anything is raised in it, every child is ended before
        that goes on.

        Raises:
            EngineError: if no child can be started.
            UsageError: if the program lacks the guard of its main module.
        """
        try:
            while not self._stopping:
                yield from self._take_orders()
                yield from self._admit()
                if not self._running and self._is_over():
                    return
                yield from self._turn()
        finally:
            try:
                end_all(self._running, self._clock, self._plan.timings)
            finally:
                self._wake_reader.close()
                self._wake_writer.close()

    def _is_over(self) -> bool:
        return self._draining or (self._line.closed and not self._line)

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):
                self._wake_writer.send_bytes(b"!")

    def _take_orders(self) -> Iterator[TrackEnded]:
        cancelled, waiting = self._line.pop_cancelled()
        for one in self._running:
            if id(one.request.track_task) in cancelled:
                one.request.cancelled = True
                one.feed(attempt_state.EndRequested(now=self._clock(), diagnosis=_CANCELLED))
        for request in waiting:
            yield request.settled(_CANCELLED)
        if self._draining:
            for one in self._running:
                one.withdraw(self._clock())

    def _admit(self) -> Iterator[PoolEvent]:
        self._throttle = self._throttle.recovered(self._clock(), self._plan.timings)
        if self._running or not self._line:
            self._held_since = None
        while self._line and not self._draining:
            if self._is_full() or not self._may_start():
                return
            request = self._line.first
            running = [one.request.track_task for one in self._running]
            match self._gate(request.track_task, request.resources, running):
                case GateDecision.WAIT:
                    self._held_since = None
                    return
                case GateDecision.NEVER:
                    self._line.put_aside()
                    continue
                case ExitDiagnosis() as diagnosis:
                    yield self._line.take().settled(diagnosis)
                    continue
            refusal = self._refusal(request)
            if refusal is not None:
                yield self._line.take().settled(refusal)
                continue
            hold = self._hold(request)
            if hold is not None:
                if not self._running:
                    yield from self._wait_for_memory(request, hold)
                return
            self._held_since = None
            yield from self._launch(self._line.take())

    def _may_start(self) -> bool:
        """Tell whether a child begins at once; raises if the system starts none, and none runs."""
        try:
            return self._starter.ready()
        except CannotStartError as error:
            if not self._may_wait(error):
                raise
            return False

    def _may_wait(self, error: CannotStartError) -> bool:
        """Return whether a start that failed may succeed when a running child has ended."""
        return error.helps_to_wait and bool(self._running)

    def _is_full(self) -> bool:
        early = self._throttle.is_calm(self._clock(), self._plan.timings)
        return admission.is_full(self._children(), self._throttle.workers, early=early)

    def _children(self) -> list[admission.Running]:
        """Give those that run, as admission looks at them."""
        return [one.for_admission() for one in self._running]

    def _hold(self, request: Request) -> admission.Hold | None:
        look = self._watch.last_exact(self._clock(), self._caps())
        return admission.may_start(
            admission.Running(
                ticket=self._tickets + 1,
                private_bytes=0,
                expected_bytes=self._need(request).private_bytes,
                alone=request.resources.alone,
            ),
            self._children(),
            used_bytes=look.sample.total.pss_bytes or 0,
            available_bytes=look.available_bytes,
            budget=self._plan.budget,
        )

    def _need(self, request: Request) -> Footprint:
        return self._plan.forecast.footprint(request.resources, request.track_task.audio_seconds)

    def _refusal(self, request: Request) -> ExitDiagnosis | None:
        seconds = request.track_task.audio_seconds
        return self._plan.refusal(request.resources, seconds, self._meter.host_memory)

    def _wait_for_memory(self, request: Request, hold: admission.Hold) -> Iterator[PoolEvent]:
        """Nothing runs and nothing may start: say so, and do not wait for ever."""
        now = self._clock()
        need = self._need(request)
        if self._held_since is None:
            self._held_since = now
            yield Noted(
                text=f"waiting for memory: a track takes about {mebibytes(need.alone_bytes)}, and "
                f"{hold} does not allow it now"
            )
        elif now - self._held_since > self._plan.timings.patience:
            self._held_since = None
            self._line.take()
            host = self._meter.host_memory()
            error = no_room(need, self._plan.budget, host, self._plan.timings.patience)
            diagnosis = ExitDiagnosis.of(error)
            if self._plan.forecast.way.is_whole:  # a shorter track may still fit
                diagnosis = dataclasses.replace(diagnosis, reason=Reason.TOO_LARGE)
            yield request.settled(diagnosis)

    def _launch(self, request: Request) -> Iterator[PoolEvent]:
        number = len(request.attempts) + 1
        try:
            task = request.track_task.begin(number, request.resources)
        except StemsplitError as error:
            yield request.settled(ExitDiagnosis.of(error))
            return
        rules = self._rules(request.resources, request.track_task.audio_seconds)
        oom_kills, generation = self._meter.oom_kills(), self._starter.generation()
        try:
            child = self._starter.start(task)
            log = _log_of(child, task)
        except BaseException as error:
            request.track_task.conclude(task, ExitDiagnosis(reason=Reason.CANCELLED), None)
            if not isinstance(error, CannotStartError) or not self._may_wait(error):
                raise
            self._throttle = self._throttle.limited(len(self._running), self._clock())
            attempt = Attempt(
                number=number,
                resources=request.resources,
                reason=Reason.EVICTED,
                message=error.message,
                remedy=error.remedy,
                seconds=0.0,
            )
            request.attempts.append(attempt)
            self._line.requeue(request)
            yield Retried(
                track_task=request.track_task, attempt=attempt, resources=request.resources
            )
            return
        self._tickets += 1
        story = f"attempt {number}: process {child.pid} started, {request.resources}"
        self._running.append(
            RunningAttempt(
                request=request,
                ticket=self._tickets,
                task=task,
                child=child,
                process_handle=self._process_handle(child),
                inbox=Inbox(child.pipe),
                log=log,
                rules=rules,
                state=attempt_transitions.launched(self._clock(), rules, story),
                expected_bytes=self._need(request).private_bytes,
                oom_kills_before=oom_kills,
                generation=generation,
            )
        )
        yield Launched(
            track_task=request.track_task,
            number=number,
            resources=request.resources,
            ram_cap_bytes=rules.ram_cap_bytes,
        )

    def _rules(self, resources: Resources, audio_seconds: float) -> attempt_state.Rules:
        forecast, limits = self._plan.forecast, self._plan.limits
        return attempt_state.Rules(
            ram_cap_bytes=self._plan.cap_bytes(resources, audio_seconds),
            stall_seconds=limits.stall_seconds
            + _PATIENCE * forecast.silent_seconds(audio_seconds, resources),
            timeout=limits.timeout,
            expect=lambda audio_seconds: forecast.seconds(audio_seconds, resources),
            timings=self._plan.timings,
        )

    def _turn(self) -> Iterator[PoolEvent]:
        pause = self._pause()
        pipes = [one.child.pipe for one in self._running if one.inbox.open]
        sentinels = [one.child.process.sentinel for one in self._running]
        if self._wake_reader in wait([self._wake_reader, *pipes, *sentinels], timeout=pause):
            self._wake_reader.recv_bytes()
            self._woken = False
        self._now(pause)
        events: list[PoolEvent] = []
        for one in list(self._running):
            events += self._heard(one)
        events += self._look()
        for one in list(self._running):
            one.feed(attempt_state.Ticked(now=self._now()))
            if not one.child.process.is_alive():
                events += self._part(one)
        self._now()
        # Told at the end: however long somebody takes over them, that lies between two turns.
        yield from events
        yield LoopIterated()

    def _heard(self, one: RunningAttempt) -> list[PoolEvent]:
        messages = one.listen(self._now())
        return [
            MessageReceived(track_task=one.request.track_task, message=message)
            for message in messages
        ]

    def _pause(self) -> float:
        pause = self._plan.timings.poll
        if self._running:
            pause = min(pause, self._watch.seconds_left(self._clock()))
        if not self._running and not self._starter.ready():
            pause = min(pause, self._plan.timings.poll_fastest)
        return pause

    def _now(self, pause: float = 0.0) -> float:
        """Give the time, within a turn.

        Children are not blamed for the time that this process itself did not run, wherever in a
        turn it was suspended.

        Args:
            pause: so long it may have waited since the last time that this was asked.
        """
        now = self._clock()
        away = now - self._last_seen - pause
        self._last_seen = now
        if away > self._plan.timings.away:
            for one in self._running:
                one.feed(attempt_state.SupervisorSuspended(now=now, seconds=away))
        return now

    def _caps(self) -> dict[int, int]:
        return {one.child.pid: one.rules.ram_cap_bytes for one in self._running}

    def _look(self) -> list[PoolEvent]:
        now = self._now()
        if not self._running or self._watch.seconds_left(now) > 0:
            return []
        look = self._watch.look(now, self._caps())
        for one in self._running:
            tree = look.sample.trees.get(one.child.pid)
            if tree is not None:
                one.look_at(tree, now)
        ending = admission.to_end(
            self._children(),
            used_bytes=look.sample.total.pss_bytes or 0,
            available_bytes=look.available_bytes,
            budget=self._plan.budget,
        )
        if ending is not None:
            self._put_an_end(ending, now)
        if not look.exact:
            return []
        trees = {one.request.track_task.job.source: one.child.pid for one in self._running}
        return [
            MemorySampled(
                total_bytes=look.sample.total.pss_bytes or 0,
                trees={
                    source: look.sample.trees[pid].pss_bytes or 0
                    for source, pid in trees.items()
                    if pid in look.sample.trees
                },
            )
        ]

    def _put_an_end(self, ending: admission.Ending, now: float) -> None:
        if ending.diagnosis.reason is Reason.EVICTED:
            if self._throttle.is_settling(now, self._plan.timings):
                return
            self._throttle = self._throttle.after_eviction(now)
        for one in self._running:
            if one.ticket == ending.ticket:
                at_once = ending.at_once
                one.feed(
                    attempt_state.EndRequested(now=now, diagnosis=ending.diagnosis, at_once=at_once)
                )

    def _part(self, one: RunningAttempt) -> list[PoolEvent]:
        """Take leave of a child that has ended: last words, verdict, and what follows."""
        # First, because a process that the child has left behind may still be writing.
        one.process_handle.bury()
        events: list[PoolEvent] = []
        while more := self._heard(one):
            events += more
        exit_code = one.child.process.exitcode or 0
        now = self._clock()
        lost = self._starter.has_lost(one.generation)
        one.dismiss()
        diagnosis = one.judge(now, exit_code, self._meter.oom_kills(), lost=lost)
        log_tail = attempt_logs.tail(one.task.log_path)
        if diagnosis.reason is not Reason.DONE:
            attempt_logs.append(one.task.log_path, one.state.story)
        if not one.state.said_hello and (complaint := self._starter.complaint()):
            raise UsageError(complaint, MAIN_GUARD)
        conclusion = one.conclude(diagnosis)
        self._running.remove(one)
        if one.withdrawn and one.result is None:
            self._line.requeue(one.request)
            return [*events, Withdrawn(track_task=one.request.track_task)]
        attempt = one.record(conclusion, now=now, exit_code=exit_code, log_tail=log_tail)
        one.request.attempts.append(attempt)
        return [*events, self._what_follows(one, conclusion.diagnosis, attempt)]

    def _what_follows(
        self, one: RunningAttempt, diagnosis: ExitDiagnosis, attempt: Attempt
    ) -> TrackEnded | Retried:
        request, reason = one.request, diagnosis.reason
        if reason is Reason.DONE and one.result is not None:
            self._plan.forecast.learn(
                request.resources,
                private_bytes=one.private_bytes or None,
                audio_seconds=one.result.audio_seconds,
                seconds=attempt.seconds,
            )
            self._deaths_in_a_row = 0
            return request.settled(diagnosis, one.result)
        if request.cancelled:
            return request.settled(_CANCELLED)
        self._deaths_in_a_row = retry.deaths_in_a_row(
            self._deaths_in_a_row, died_at_start=one.state.died_at_start, reason=reason
        )
        if self._deaths_in_a_row >= retry.DEATHS_AT_START:
            return request.settled(engine_is_broken(attempt.exit_code or 0))
        earlier = [before.reason for before in request.attempts[:-1]]
        resources = retry.next_resources(
            request.resources, reason, earlier, self._plan.limits.retries
        )
        if resources is None:
            return request.settled(diagnosis)
        request.resources = resources
        if reason is Reason.EVICTED:
            self._line.requeue(request)
        else:
            self._line.add(request)
        return Retried(track_task=request.track_task, attempt=attempt, resources=resources)


def _log_of(child: Child, task: Task) -> attempt_logs.AttemptLog:
    """Take in what a child logs, on a thread; raises `CannotStartError` if there can be none."""
    try:
        return attempt_logs.AttemptLog(task.log_path, child.log_pipe)
    except RuntimeError as error:
        child.process.kill()
        child.process.join()
        child.pipe.close()
        child.log_pipe.close()
        raise CannotStartError.because_of(error) from error

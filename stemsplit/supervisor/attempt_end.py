"""Runs in the supervisor. Finishes an attempt after its child's exit: diagnosis, record, retry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.core.errors import UsageError
from stemsplit.core.outcome import Reason
from stemsplit.supervisor import attempt_logs, retry
from stemsplit.supervisor.exit_diagnosis import CANCELLED
from stemsplit.supervisor.pool_interface import Retried, Withdrawn
from stemsplit.supervisor.session import MAIN_GUARD

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.core.outcome import Attempt
    from stemsplit.supervisor.attempt import RunningAttempt
    from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
    from stemsplit.supervisor.launcher import Starter
    from stemsplit.supervisor.pool_interface import PoolEvent, TrackEnded
    from stemsplit.supervisor.pool_plan import PoolPlan
    from stemsplit.supervisor.process_tree import Meter
    from stemsplit.supervisor.track_queue import TrackQueue


@dataclass(slots=True)
class AttemptFinisher:
    """Finishes attempts whose child has exited, and queues tracks to retry.

    See `stemsplit.supervisor.pool.Pool` for its other arguments.
    """

    starter: Starter
    plan: PoolPlan
    meter: Meter
    queue: TrackQueue
    clock: Callable[[], float]
    _startup_deaths: int = field(default=0, init=False)

    def finish(
        self, attempt: RunningAttempt, running: list[RunningAttempt], now: Callable[[], float]
    ) -> list[PoolEvent]:
        """Read the last messages, diagnose the exit, publish or remove the files, and follow up.

        Args:
            attempt: an attempt whose child has exited.
            running: the running attempts, from which `attempt` is removed.
            now: the time, with suspensions of the supervisor taken into account.

        Raises:
            UsageError: if the child reports that the program lacks the guard of its main module.
        """
        # First, because a process that the child has left behind may still write.
        attempt.process_handle.kill_leftovers()
        events: list[PoolEvent] = []
        while messages := attempt.receive(now()):
            events += messages
        exit_code = attempt.child.process.exitcode or 0
        exited_at = self.clock()
        lost = self.starter.has_lost_server(attempt.fork_server_pid)
        attempt.close()
        diagnosis = attempt.diagnose(exited_at, exit_code, self.meter.oom_kills(), lost=lost)
        log_tail = attempt_logs.tail(attempt.task.log_path)
        if diagnosis.reason is not Reason.DONE:
            attempt_logs.append_story(attempt.task.log_path, attempt.state.story)
        if not attempt.state.has_started and (error := self.starter.startup_error()):
            raise UsageError(error, MAIN_GUARD)
        finalised = attempt.finalise(diagnosis)
        running.remove(attempt)
        track = attempt.track
        if attempt.is_withdrawn and attempt.result is None:
            self.queue.requeue(track)
            return [*events, Withdrawn(track_task=track.track_task)]
        record = attempt.record(finalised, now=exited_at, exit_code=exit_code, log_tail=log_tail)
        track.attempts.append(record)
        return [*events, self._next_step(attempt, finalised.diagnosis, record)]

    def _next_step(
        self, attempt: RunningAttempt, diagnosis: ExitDiagnosis, record: Attempt
    ) -> TrackEnded | Retried:
        """End the track, or put it back into the queue to retry it."""
        track, reason = attempt.track, diagnosis.reason
        if reason is Reason.DONE and attempt.result is not None:
            self.plan.forecast.learn(
                track.resources,
                private_bytes=attempt.private_bytes or None,
                audio_seconds=attempt.result.audio_seconds,
                seconds=record.seconds,
            )
            self._startup_deaths = 0
            return track.ended(diagnosis, attempt.result)
        if track.is_cancelled:
            return track.ended(CANCELLED)
        self._startup_deaths = retry.count_startup_deaths(
            self._startup_deaths, died_at_start=attempt.state.died_at_start, reason=reason
        )
        if self._startup_deaths >= retry.MAX_STARTUP_DEATHS:
            return track.ended(retry.broken_engine(record.exit_code or 0))
        earlier = [before.reason for before in track.attempts[:-1]]
        resources = retry.next_resources(track.resources, reason, earlier, self.plan.limits.retries)
        if resources is None:
            return track.ended(diagnosis)
        track.resources = resources
        if reason is Reason.EVICTED:
            self.queue.requeue(track)
        else:
            self.queue.add(track)
        return Retried(track_task=track.track_task, attempt=record, resources=resources)

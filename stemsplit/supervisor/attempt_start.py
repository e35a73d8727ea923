"""Runs in the supervisor. Starts an attempt with its child, log and rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.core.outcome import Attempt, Reason
from stemsplit.supervisor.attempt import RunningAttempt
from stemsplit.supervisor.attempt_logs import AttemptLog
from stemsplit.supervisor.attempt_state import Rules
from stemsplit.supervisor.attempt_transitions import initial_state
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
from stemsplit.supervisor.inbox import Inbox
from stemsplit.supervisor.process_start import CannotStartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Task
    from stemsplit.supervisor.launcher import Child, Starter
    from stemsplit.supervisor.pool_plan import PoolPlan
    from stemsplit.supervisor.process_tree import Meter
    from stemsplit.supervisor.termination import ProcessHandle
    from stemsplit.supervisor.track_queue import QueuedTrack

_SILENCE_FACTOR = 3.0
"""Multiple of the predicted time that a child may stay silent if its work is a single step."""


@dataclass(slots=True)
class AttemptStarter:
    """Starts attempts; see `stemsplit.supervisor.pool.Pool` for its arguments."""

    starter: Starter
    plan: PoolPlan
    meter: Meter
    process_handle: Callable[[Child], ProcessHandle]
    clock: Callable[[], float]
    _tickets: int = field(default=0, init=False)

    def start(self, track: QueuedTrack, task: Task) -> RunningAttempt:
        """Start a child for `task`; remove the attempt's files if that fails.

        Raises:
            CannotStartError: if the system starts no further process or thread.
        """
        rules = self._rules(track.resources, track.track_task.audio_seconds)
        oom_kills, fork_server_pid = self.meter.oom_kills(), self.starter.fork_server_pid()
        try:
            child = self.starter.start(task)
            log = _open_log(child, task)
        except BaseException:
            track.track_task.finalise(task, ExitDiagnosis(reason=Reason.CANCELLED), None)
            raise
        self._tickets += 1
        number = len(track.attempts) + 1
        log_line = f"attempt {number}: process {child.pid} started, {track.resources}"
        return RunningAttempt(
            track=track,
            ticket=self._tickets,
            task=task,
            child=child,
            process_handle=self.process_handle(child),
            inbox=Inbox(child.pipe),
            log=log,
            rules=rules,
            state=initial_state(self.clock(), rules, log_line),
            expected_bytes=self.plan.forecast.footprint(
                track.resources, track.track_task.audio_seconds
            ).private_bytes,
            oom_kills_before=oom_kills,
            fork_server_pid=fork_server_pid,
        )

    def _rules(self, resources: Resources, audio_seconds: float) -> Rules:
        forecast, limits = self.plan.forecast, self.plan.limits
        silent_seconds = _SILENCE_FACTOR * forecast.silent_seconds(audio_seconds, resources)
        return Rules(
            ram_cap_bytes=self.plan.cap_bytes(resources, audio_seconds),
            stall_seconds=limits.stall_seconds + silent_seconds,
            timeout=limits.timeout,
            expect=lambda audio_seconds: forecast.seconds(audio_seconds, resources),
            timings=self.plan.timings,
        )


def record_failed_start(track: QueuedTrack, error: CannotStartError) -> Attempt:
    """Add an attempt without a child to `track`; it counts as an eviction."""
    attempt = Attempt(
        number=len(track.attempts) + 1,
        resources=track.resources,
        reason=Reason.EVICTED,
        message=error.message,
        remedy=error.remedy,
        seconds=0.0,
    )
    track.attempts.append(attempt)
    return attempt


def _open_log(child: Child, task: Task) -> AttemptLog:
    """Receive a child's log records; kill the child if no thread can be started for that."""
    try:
        return AttemptLog(task.log_path, child.log_pipe)
    except RuntimeError as error:
        child.process.kill()
        child.process.join()
        child.pipe.close()
        child.log_pipe.close()
        raise CannotStartError.of(error) from error

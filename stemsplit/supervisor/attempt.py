"""Runs in the supervisor. A running attempt: one child with its pipes, log and state.

Executes the actions that `stemsplit.supervisor.attempt_transitions` returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.core.messages import Finished, Warned
from stemsplit.core.outcome import Attempt, Reason, TrackWarning
from stemsplit.core.time_series import TimeSeriesRecorder
from stemsplit.supervisor import attempt_state, attempt_transitions
from stemsplit.supervisor.admission import RunningChild
from stemsplit.supervisor.attempt_state import Action, Phase
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
from stemsplit.supervisor.pool_interface import MessageReceived

if TYPE_CHECKING:
    from stemsplit.core.messages import Task
    from stemsplit.supervisor.attempt_logs import AttemptLog
    from stemsplit.supervisor.inbox import Inbox
    from stemsplit.supervisor.launcher import Child
    from stemsplit.supervisor.pool_interface import FinalisedAttempt
    from stemsplit.supervisor.process_tree import Usage
    from stemsplit.supervisor.termination import ProcessHandle
    from stemsplit.supervisor.track_queue import QueuedTrack


_SERIES_STEP_SECONDS = 0.25
_MAX_SERIES_STEPS = 32


@dataclass(slots=True, kw_only=True, eq=False)
class RunningAttempt:
    """An attempt whose child was started and is not yet finished.

    Attributes:
        track: its track.
        ticket: its number in the pool; a later attempt has a larger one.
        task: the child's task.
        child: the process and its pipes.
        process_handle: terminates the child.
        inbox: reads its messages.
        log: receives its log records.
        rules: its limits.
        state: state of the state machine.
        expected_bytes: expected peak of private memory.
        oom_kills_before: the kernel's number of out-of-memory kills at the start.
        fork_server_pid: PID of the fork server that has started the child; 0 if none.
        private_bytes: largest private memory sampled.
        memory: memory of the process tree in bytes, by seconds since the start.
        is_withdrawn: whether its track goes back to the queue as if it had not been started.
        is_closed: whether the pipes and the log are closed.
    """

    track: QueuedTrack
    ticket: int
    task: Task
    child: Child
    process_handle: ProcessHandle
    inbox: Inbox
    log: AttemptLog
    rules: attempt_state.Rules
    state: attempt_state.State
    expected_bytes: int
    oom_kills_before: int | None
    fork_server_pid: int = 0
    private_bytes: int = 0
    memory: TimeSeriesRecorder = field(
        default_factory=lambda: TimeSeriesRecorder(_SERIES_STEP_SECONDS, _MAX_SERIES_STEPS)
    )
    is_withdrawn: bool = False
    is_closed: bool = False
    _finalised: FinalisedAttempt | None = None

    def handle(self, event: attempt_state.Event) -> None:
        """Advance the state machine and execute its actions."""
        self.state, actions = attempt_transitions.advance(self.state, event, self.rules)
        for action in actions:
            match action:
                case Action.DUMP_STACKS:
                    self.process_handle.dump_stacks()
                case Action.ASK:
                    self.process_handle.ask()
                case Action.TERMINATE:
                    self.process_handle.terminate()
                case Action.KILL:
                    self.process_handle.kill()

    def receive(self, now: float) -> list[MessageReceived]:
        """Handle the messages that have arrived, and return them as events."""
        messages = self.inbox.receive()
        for message in messages:
            if isinstance(message, Warned):
                self.track.warnings.append(TrackWarning(kind=message.kind, text=message.text))
            self.handle(attempt_state.MessageReceived(now=now, message=message))
        if not self.inbox.is_open:
            self.handle(attempt_state.PipeClosed(now=now))
        return [
            MessageReceived(track_task=self.track.track_task, message=message)
            for message in messages
        ]

    def record_usage(self, tree: Usage, now: float) -> None:
        """Handle a sample of the child's process tree."""
        self.private_bytes = max(self.private_bytes, tree.private_bytes or 0)
        if tree.pss_bytes is not None:
            self.memory.add(max(now - self.state.launched_at, 0.0), tree.pss_bytes)
        self.handle(
            attempt_state.Sampled(
                now=now,
                memory_bytes=tree.rss_bytes if tree.pss_bytes is None else tree.pss_bytes,
                exact=tree.pss_bytes is not None,
                cpu_seconds=tree.cpu_seconds,
                io_bytes=tree.io_bytes,
                waits_for_disk=tree.waits_for_disk,
            )
        )

    def terminate(self, diagnosis: ExitDiagnosis, now: float, *, at_once: bool = False) -> None:
        """Begin to terminate the child because of `diagnosis`."""
        self.handle(
            attempt_state.TerminationRequested(now=now, diagnosis=diagnosis, at_once=at_once)
        )

    def withdraw(self, now: float) -> None:
        """Kill a child that has not begun to separate; its track goes back to the queue."""
        if self.state.phase is Phase.STARTING:
            self.is_withdrawn = True
            diagnosis = ExitDiagnosis(
                reason=Reason.CANCELLED, message="The separation had not begun."
            )
            self.terminate(diagnosis, now, at_once=True)

    def as_running_child(self) -> RunningChild:
        """Return what `stemsplit.supervisor.admission` needs to know."""
        return RunningChild(
            ticket=self.ticket,
            private_bytes=self.private_bytes,
            expected_bytes=self.expected_bytes,
            alone=self.track.resources.alone,
            is_finishing=self.state.is_separated,
            is_ending=self.state.phase is Phase.ENDING,
        )

    def close(self) -> None:
        """Close the pipes and the log of an exited child."""
        self.is_closed = True
        self.child.pipe.close()
        self.log.close()
        self.child.process.close()

    def finalise(self, diagnosis: ExitDiagnosis) -> FinalisedAttempt:
        """Publish or remove its files; further calls return the same result."""
        if self._finalised is None:
            self._finalised = self.track.track_task.finalise(self.task, diagnosis, self.result)
        return self._finalised

    def diagnose(
        self, now: float, exit_code: int, oom_kills_after: int | None, *, lost: bool
    ) -> ExitDiagnosis:
        """Handle the exit of the child, and return why it exited."""
        before = self.oom_kills_before
        oom_kills = None
        if before is not None and oom_kills_after is not None:
            oom_kills = oom_kills_after - before
        self.handle(
            attempt_state.Exited(now=now, exit_code=exit_code, oom_kills=oom_kills, lost=lost)
        )
        return self.state.diagnosis or ExitDiagnosis(reason=Reason.CRASHED)

    @property
    def result(self) -> Finished | None:
        """The child's result if its diagnosis is `done`."""
        message, diagnosis = self.state.last_message, self.state.diagnosis
        is_done = diagnosis is not None and diagnosis.reason is Reason.DONE
        return message if is_done and isinstance(message, Finished) else None

    def record(
        self, finalised: FinalisedAttempt, *, now: float, exit_code: int, log_tail: str
    ) -> Attempt:
        """Return the record of the finished attempt; a success has no log tail and no story."""
        diagnosis = finalised.diagnosis
        is_done = diagnosis.reason is Reason.DONE
        return Attempt(
            number=len(self.track.attempts) + 1,
            resources=self.track.resources,
            reason=diagnosis.reason,
            message=diagnosis.message,
            remedy=diagnosis.remedy,
            traceback=diagnosis.detail,
            log_tail="" if is_done else log_tail,
            story=() if is_done else self.state.story,
            seconds=now - self.state.launched_at,
            exit_code=exit_code,
            peak_pss_bytes=self.state.peak_bytes,
            private_bytes=self.private_bytes or None,
            peak_rss_bytes=self.state.peak_rss_bytes,
            log_file=None if finalised.log_file is None else str(finalised.log_file),
            ram_cap_bytes=self.rules.ram_cap_bytes,
            memory=self.memory.series(),
        )

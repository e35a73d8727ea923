"""Runs in the supervisor. One child with all that belongs to it: pipes, log, leash, state.

Carries out what `stemsplit.supervisor.attempt_transitions` decides about it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.core.messages import Finished, Warned
from stemsplit.core.outcome import Attempt, Outcome, Reason, TrackWarning
from stemsplit.core.time_series import TimeSeriesRecorder
from stemsplit.supervisor import admission, attempt_logs, attempt_state, attempt_transitions
from stemsplit.supervisor.attempt_state import Action, Phase
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
from stemsplit.supervisor.pool_interface import TrackEnded

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Message, Task
    from stemsplit.supervisor.inbox import Inbox
    from stemsplit.supervisor.launcher import Child
    from stemsplit.supervisor.pool_interface import FinalisedAttempt, TrackTask
    from stemsplit.supervisor.process_tree import Usage
    from stemsplit.supervisor.termination import ProcessHandle


_CURVE_STEP_SECONDS = 0.25
_MOST_CURVE_STEPS = 32


def _new_curve() -> TimeSeriesRecorder:
    return TimeSeriesRecorder(_CURVE_STEP_SECONDS, _MOST_CURVE_STEPS)


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """A track in line, with what became of it so far."""

    track_task: TrackTask
    resources: Resources
    attempts: list[Attempt] = field(default_factory=list)
    warnings: list[TrackWarning] = field(default_factory=list)
    cancelled: bool = False

    def settled(self, diagnosis: ExitDiagnosis, result: Finished | None = None) -> TrackEnded:
        """Come to the end of the line, with all that became of it."""
        outcome = Outcome(
            job=self.track_task.job,
            reason=diagnosis.reason,
            message=diagnosis.message,
            remedy=diagnosis.remedy,
            warnings=tuple(dict.fromkeys(self.warnings)),
            stems=() if result is None else result.stems,
            audio_seconds=0.0 if result is None else result.audio_seconds,
            attempts=tuple(self.attempts),
        )
        return TrackEnded(track_task=self.track_task, outcome=outcome)


@dataclass(slots=True, kw_only=True, eq=False)
class RunningAttempt:
    """A child that was started and has not been taken leave of.

    Attributes:
        request: what it is for.
        ticket: its number in the pool; a later child has a larger one.
        task: what it was told.
        child, process_handle, inbox, log: the process, and the ways to act on it and to hear from
        it. rules, state: see `stemsplit.supervisor.attempt_transitions`.
        expected_bytes: of private memory, at its peak.
        oom_kills_before: the kernel's count when it was started.
        private_bytes: the largest private memory sampled.
        generation: of what bore it (`stemsplit.supervisor.launcher.Starter`).
        memory: of its tree in bytes, by seconds since its start.
        withdrawn: whether its track goes back in line as if it had not been begun.
        dismissed: whether all that led to it is closed.
    """

    request: Request
    ticket: int
    task: Task
    child: Child
    process_handle: ProcessHandle
    inbox: Inbox
    log: attempt_logs.AttemptLog
    rules: attempt_state.Rules
    state: attempt_state.State
    expected_bytes: int
    oom_kills_before: int | None
    generation: int = 0
    private_bytes: int = 0
    memory: TimeSeriesRecorder = field(default_factory=_new_curve)
    withdrawn: bool = False
    dismissed: bool = False
    _conclusion: FinalisedAttempt | None = None

    def feed(self, event: attempt_state.Event) -> None:
        """Take in an event and do what follows from it."""
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

    def listen(self, now: float) -> list[Message]:
        """Take in what the child has said."""
        messages = self.inbox.take()
        for message in messages:
            if isinstance(message, Warned):
                warning = TrackWarning(kind=message.kind, text=message.text)
                self.request.warnings.append(warning)
            self.feed(attempt_state.MessageReceived(now=now, message=message))
        if not self.inbox.open:
            self.feed(attempt_state.PipeClosed(now=now))
        return messages

    def look_at(self, tree: Usage, now: float) -> None:
        """Take in what its process tree uses."""
        self.private_bytes = max(self.private_bytes, tree.private_bytes or 0)
        if tree.pss_bytes is not None:
            self.memory.add(max(now - self.state.launched_at, 0.0), tree.pss_bytes)
        self.feed(
            attempt_state.Sampled(
                now=now,
                memory_bytes=tree.rss_bytes if tree.pss_bytes is None else tree.pss_bytes,
                exact=tree.pss_bytes is not None,
                cpu_seconds=tree.cpu_seconds,
                io_bytes=tree.io_bytes,
                waits_for_disk=tree.waits_for_disk,
            )
        )

    def withdraw(self, now: float) -> None:
        """End a child that has not begun to separate, and put its track back in line."""
        if self.state.phase is Phase.STARTING:
            self.withdrawn = True
            diagnosis = ExitDiagnosis(reason=Reason.CANCELLED, message="It was not begun.")
            self.feed(attempt_state.EndRequested(now=now, diagnosis=diagnosis, at_once=True))

    def for_admission(self) -> admission.Running:
        """Give what admission looks at."""
        return admission.Running(
            ticket=self.ticket,
            private_bytes=self.private_bytes,
            expected_bytes=self.expected_bytes,
            alone=self.request.resources.alone,
            finishing=self.state.separated,
            ending=self.state.phase is Phase.ENDING,
        )

    def dismiss(self) -> None:
        """Now that the process has ended, close all that led to it."""
        self.dismissed = True
        self.child.pipe.close()
        self.log.close()
        self.child.process.close()

    def conclude(self, diagnosis: ExitDiagnosis) -> FinalisedAttempt:
        """Let its files be published or removed; once."""
        if self._conclusion is None:
            self._conclusion = self.request.track_task.conclude(self.task, diagnosis, self.result)
        return self._conclusion

    def judge(
        self, now: float, exit_code: int, oom_kills_after: int | None, *, lost: bool
    ) -> ExitDiagnosis:
        """Judge how it ended, and close its log with the supervisor's own account."""
        before = self.oom_kills_before
        unknown = before is None or oom_kills_after is None
        oom_kills = None if unknown else (oom_kills_after or 0) - (before or 0)
        self.feed(
            attempt_state.Exited(now=now, exit_code=exit_code, oom_kills=oom_kills, lost=lost)
        )
        return self.state.diagnosis or ExitDiagnosis(reason=Reason.CRASHED)

    @property
    def result(self) -> Finished | None:
        """Its stems, if it was judged to be done."""
        word, diagnosis = self.state.last_word, self.state.diagnosis
        done = diagnosis is not None and diagnosis.reason is Reason.DONE
        return word if done and isinstance(word, Finished) else None

    def record(
        self, conclusion: FinalisedAttempt, *, now: float, exit_code: int, log_tail: str
    ) -> Attempt:
        """Write down how it went; what only a failure needs is left out of a success."""
        diagnosis = conclusion.diagnosis
        done = diagnosis.reason is Reason.DONE
        return Attempt(
            number=len(self.request.attempts) + 1,
            resources=self.request.resources,
            reason=diagnosis.reason,
            message=diagnosis.message,
            remedy=diagnosis.remedy,
            traceback=diagnosis.detail,
            log_tail="" if done else log_tail,
            story=() if done else self.state.story,
            seconds=now - self.state.launched_at,
            exit_code=exit_code,
            peak_pss_bytes=self.state.peak_bytes,
            private_bytes=self.private_bytes or None,
            peak_rss_bytes=self.state.peak_rss_bytes,
            log_file=None if conclusion.log_file is None else str(conclusion.log_file),
            ram_cap_bytes=self.rules.ram_cap_bytes,
            memory=self.memory.curve(),
        )


_MOST_ROUNDS = 5
"""So many interruptions are taken while all children are ended."""


def end_all(
    running: list[RunningAttempt], clock: Callable[[], float], timings: attempt_state.Timings
) -> None:
    """End every child, politely for a moment; nothing is published any more.

    Args:
        running: the children; empty in the end.
        clock: monotonic seconds.
        timings: how long they may take.

    Raises:
        BaseException: what came in between, a second Ctrl-C for one, when all are ended.
    """
    interruption: BaseException | None = None
    for round_number in range(_MOST_ROUNDS):
        try:
            if round_number == 0:
                _ask_all_to_end(running, clock, timings)
            while running:
                one = running[-1]
                if not one.dismissed:
                    one.process_handle.kill()
                    one.child.process.join(timings.close)
                    one.process_handle.bury()
                    one.dismiss()
                one.conclude(ExitDiagnosis(reason=Reason.CANCELLED))
                running.remove(one)
            break
        except BaseException as error:  # noqa: BLE001 - no child is left behind for any reason
            interruption = error
    if interruption is not None:
        raise interruption


def _ask_all_to_end(
    running: list[RunningAttempt], clock: Callable[[], float], timings: attempt_state.Timings
) -> None:
    for one in running:
        if not one.dismissed:
            one.process_handle.terminate()
    deadline = clock() + timings.terminate
    for one in running:
        if not one.dismissed:
            one.child.process.join(max(0.0, deadline - clock()))

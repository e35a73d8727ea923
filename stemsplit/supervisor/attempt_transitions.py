"""Runs in the supervisor. State machine of an attempt: (state, event) -> (state, actions). Pure.

Knows no processes, pipes or clocks: each event carries its time, and the pool executes the returned
actions. Covers startup, progress, stalls, time limits, the memory cap, and the steps of a
termination. `stemsplit.supervisor.retry` decides what follows an attempt,
`stemsplit.supervisor.admission` when one may start.
"""

from __future__ import annotations

from dataclasses import replace

from stemsplit.core.messages import (
    Failed,
    Finished,
    Hello,
    Progress,
    Ready,
    Separated,
    Started,
    Transferring,
    Warned,
)
from stemsplit.core.outcome import Reason
from stemsplit.core.text import mebibytes
from stemsplit.supervisor.attempt_state import (
    Action,
    Event,
    Exited,
    MessageReceived,
    Phase,
    PipeClosed,
    Rules,
    Sampled,
    State,
    SupervisorSuspended,
    TerminationRequested,
    Ticked,
)
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis, diagnose, exit_name

IDLE_SHARE = 1 / 3
"""Share of `Rules.stall_seconds` after which a child that uses neither CPU nor disk is stalled."""

IDLE_CPU_SECONDS = 0.02
"""CPU time since the last activity up to which a child counts as idle: its thread that listens to
the supervisor uses a little."""

HARD_CAP = 1.25
"""Multiple of a memory cap at which a child is killed without being asked to exit."""


Transition = tuple[State, tuple[Action, ...]]


def initial_state(now: float, rules: Rules, log_line: str) -> State:
    """Return the state of a child that has just been started; `log_line` begins its story."""
    state = State(
        launched_at=now,
        startup_since=now,
        progress_at=now,
        active_at=now,
        timeout_seconds=None if rules.timeout is None else rules.timeout.of(None),
    )
    return _log_line(state, now, log_line)


def advance(state: State, event: Event, rules: Rules) -> Transition:
    """Handle an event.

    Returns:
        the new state, and the actions to execute now.
    """
    if state.phase is Phase.GONE:
        return state, ()
    actions: tuple[Action, ...] = ()
    match event:
        case MessageReceived():
            state = _on_message(state, event, rules)
        case PipeClosed(now=now) if state.is_pipe_open:
            state = _expect_exit(replace(state, is_pipe_open=False), now, rules)
        case Sampled():
            state, actions = _on_sample(state, event, rules)
        case Ticked(now=now):
            state, actions = _on_tick(state, now, rules)
        case SupervisorSuspended():
            state = _on_suspension(state, event)
        case TerminationRequested(now=now, diagnosis=diagnosis, at_once=at_once):
            state, actions = _begin_termination(state, now, diagnosis, rules, at_once=at_once)
        case Exited():
            state = _on_exit(state, event)
    return state, actions


def _log_line(state: State, now: float, line: str) -> State:
    return replace(state, story=(*state.story, f"{now - state.launched_at:8.2f} s  {line}"))


def _on_message(state: State, event: MessageReceived, rules: Rules) -> State:
    now = event.now
    is_transferring = isinstance(event.message, Transferring)
    state = replace(state, progress_at=now, active_at=now, is_transferring=is_transferring)
    match event.message:
        case Hello(preloaded=preloaded):
            state = replace(state, has_started=True)
            libraries = "already loaded" if preloaded else "to be loaded by the child"
            line = f"the child's program has started; engine libraries {libraries}"
        case Started() as started:
            return _on_started(state, now, started, rules)
        case Ready():
            state, line = _with_engine_loaded(state), "the engine is loaded"
        case Transferring():
            return replace(state, startup_since=now)
        case Progress(audio_seconds=seconds):
            if state.separated_seconds == 0.0 < seconds:
                state = _log_line(state, now, "the first segment is separated")
            return replace(_with_engine_loaded(state), separated_seconds=seconds)
        case Separated():
            state, line = replace(state, is_separated=True), "all segments are separated"
        case Warned(kind=kind, text=text):
            line = f"warning ({kind}): {text}"
        case Finished() | Failed() as last:
            line = "finished" if isinstance(last, Finished) else f"failed: {last.message}"
            state = _log_line(replace(state, last_message=last), now, line)
            return _expect_exit(state, now, rules)
    return _log_line(state, now, line)


def _on_started(state: State, now: float, started: Started, rules: Rules) -> State:
    info = started.info
    state = replace(state, has_opened=True)
    if rules.timeout is not None and info.seconds is not None:
        limit = rules.timeout.of(rules.expect(info.seconds))
        state = replace(state, timeout_seconds=limit)
    length = "unknown length" if info.seconds is None else f"{info.seconds:.1f} s"
    line = f"opened: {info.format} {info.subtype}, {info.sample_rate} Hz, {length}"
    return _log_line(state, now, line)


def _with_engine_loaded(state: State) -> State:
    is_starting = state.phase is Phase.STARTING
    return replace(state, is_ready=True, phase=Phase.RUNNING if is_starting else state.phase)


def _expect_exit(state: State, now: float, rules: Rules) -> State:
    """Set the deadline for the child to exit by itself, unless it is being terminated."""
    if state.phase is Phase.ENDING:
        return state
    return replace(state, phase=Phase.CLOSING, deadline=now + rules.timings.close)


def _on_sample(state: State, event: Sampled, rules: Rules) -> Transition:
    if event.exact:
        state = replace(state, peak_bytes=max(state.peak_bytes or 0, event.memory_bytes))
    used_cpu = event.cpu_seconds - state.cpu_seconds
    if used_cpu >= IDLE_CPU_SECONDS or used_cpu < 0 or event.io_bytes != state.io_bytes:
        state = replace(
            state, active_at=event.now, cpu_seconds=event.cpu_seconds, io_bytes=event.io_bytes
        )
    elif event.waits_for_disk:
        state = replace(state, active_at=event.now)
    if event.exact and event.memory_bytes > rules.ram_cap_bytes:
        at_once = event.memory_bytes > HARD_CAP * rules.ram_cap_bytes
        diagnosis = _over_cap(event, rules)
        return _begin_termination(state, event.now, diagnosis, rules, at_once=at_once)
    return _on_tick(state, event.now, rules)


def _over_cap(event: Sampled, rules: Rules) -> ExitDiagnosis:
    return ExitDiagnosis(
        reason=Reason.OVER_RAM_CAP,
        message=f"The child used {mebibytes(event.memory_bytes)} of memory; its cap is "
        f"{mebibytes(rules.ram_cap_bytes)}.",
        remedy="Raise --max-ram or --max-ram-per-file, or check the file.",
    )


def _on_tick(state: State, now: float, rules: Rules) -> Transition:
    match state.phase:
        case Phase.ENDING:
            return _continue_termination(state, now, rules)
        case Phase.CLOSING if now >= state.deadline:
            state = replace(state, phase=Phase.ENDING, failed_to_exit=True)
            return _log_line(state, now, "the child did not exit in time: SIGKILL"), (Action.KILL,)
        case Phase.STARTING | Phase.RUNNING:
            diagnosis = _over_time(state, now, rules)
            if diagnosis is not None:
                return _begin_termination(state, now, diagnosis, rules)
    return state, ()


def _over_time(state: State, now: float, rules: Rules) -> ExitDiagnosis | None:
    """Return which time limit the child exceeds; None if it exceeds none."""
    if state.timeout_seconds is not None and now - state.launched_at > state.timeout_seconds:
        return ExitDiagnosis(
            reason=Reason.TIMED_OUT,
            message=f"The child exceeded its time limit of {state.timeout_seconds:.0f} s.",
            remedy="Raise --timeout.",
        )
    idle_seconds = now - state.active_at
    if state.phase is Phase.STARTING and now - state.startup_since > rules.timings.start:
        what = f"was not ready after {rules.timings.start:.0f} s"
    elif idle_seconds > IDLE_SHARE * rules.stall_seconds:
        what = f"used neither CPU nor disk for {idle_seconds:.1f} s"
    elif state.phase is Phase.RUNNING and now - state.progress_at > rules.stall_seconds:
        what = f"made no progress for {now - state.progress_at:.1f} s"
    else:
        return None
    if state.is_transferring:
        return ExitDiagnosis(
            reason=Reason.UNREACHABLE,
            message=f"The child {what} during a transfer from or to remote storage.",
            remedy="Check the network and the storage, and run the same command again.",
        )
    return ExitDiagnosis(
        reason=Reason.STALLED,
        message=f"The child {what}.",
        remedy="Its log shows where it hung. If the machine is only slow, raise --stall-timeout.",
    )


def _begin_termination(
    state: State, now: float, diagnosis: ExitDiagnosis, rules: Rules, *, at_once: bool = False
) -> Transition:
    """Start to terminate the child: request, SIGTERM, SIGKILL; or send SIGKILL at once.

    A hanging child writes its stacks before it is asked to exit: the request wakes its listening
    thread, and reading the frames of a running thread can crash the process.
    """
    if state.phase is not Phase.ENDING:
        hangs = diagnosis.reason in {Reason.STALLED, Reason.TIMED_OUT}
        dump = (Action.DUMP_STACKS,) if hangs else ()
        state = replace(
            state,
            phase=Phase.ENDING,
            termination_cause=diagnosis,
            pending_actions=(*dump, Action.ASK, Action.TERMINATE, Action.KILL),
            deadline=now,
        )
        state = _log_line(state, now, f"terminating, {diagnosis.reason}: {diagnosis.message}")
    if at_once and state.pending_actions:
        state = replace(state, pending_actions=())
        return _log_line(state, now, "SIGKILL at once"), (Action.KILL,)
    return _continue_termination(state, now, rules)


def _continue_termination(state: State, now: float, rules: Rules) -> Transition:
    if not state.pending_actions or now < state.deadline:
        return state, ()
    action, *rest = state.pending_actions
    pause, name = {
        Action.DUMP_STACKS: (rules.timings.stacks, None),
        Action.ASK: (rules.timings.ask, None),
        Action.TERMINATE: (rules.timings.terminate, "SIGTERM"),
        Action.KILL: (0.0, "SIGKILL"),
    }[action]
    state = replace(state, pending_actions=tuple(rest), deadline=now + pause)
    return state if name is None else _log_line(state, now, name), (action,)


def _on_suspension(state: State, event: SupervisorSuspended) -> State:
    """Move all times by the suspension, or by the age of a child that started during it."""
    seconds = min(event.seconds, event.now - state.launched_at)
    state = replace(
        state,
        launched_at=state.launched_at + seconds,
        startup_since=min(state.startup_since + seconds, event.now),
        progress_at=min(state.progress_at + seconds, event.now),
        active_at=min(state.active_at + seconds, event.now),
        deadline=state.deadline + seconds,
    )
    return _log_line(state, event.now, f"(the supervisor was suspended for {seconds:.0f} s)")


def _on_exit(state: State, event: Exited) -> State:
    peak = "" if state.peak_bytes is None else f"; peak memory {mebibytes(state.peak_bytes)}"
    state = _log_line(state, event.now, f"exited: {exit_name(event.exit_code)}{peak}")
    diagnosis = diagnose(
        state.last_message,
        event.exit_code,
        termination_cause=state.termination_cause,
        failed_to_exit=state.failed_to_exit,
        oom_kills=event.oom_kills,
        lost=event.lost,
    )
    return replace(state, phase=Phase.GONE, diagnosis=diagnosis)

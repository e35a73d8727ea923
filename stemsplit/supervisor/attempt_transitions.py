"""Runs in the supervisor. The life of one attempt: (state, event) -> (state, actions). Pure.

Knows nothing of processes, pipes or clocks: each event bears the time it happened at, and what is
to be done about it comes back as actions for the pool to execute. Covers start-up, progress,
stalls, time limits, the cap on memory, and the steps by which a child is ended. What happens after
an attempt is `stemsplit.supervisor.retry`; whether one may begin,
`stemsplit.supervisor.admission`.
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
    EndRequested,
    Event,
    Exited,
    MessageReceived,
    Phase,
    PipeClosed,
    Rules,
    Sampled,
    State,
    SupervisorSuspended,
    Ticked,
)
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis, exit_name, judge

IDLE_SHARE = 1 / 3
"""Of `Rules.stall_seconds`: a child that uses neither processor nor disk stalls so much sooner."""

IDLE_CPU_SECONDS = 0.02
"""Less processor time than this is no sign of life: a child's own watch may take a little."""

HARD_CAP = 1.25
"""At this multiple of its cap a child is killed at once; there is no time for asking."""


Step = tuple[State, tuple[Action, ...]]


def launched(now: float, rules: Rules, what: str) -> State:
    """Begin a life; `what` goes into the story."""
    state = State(
        launched_at=now,
        starts_at=now,
        progress_at=now,
        alive_at=now,
        timeout_seconds=None if rules.timeout is None else rules.timeout.of(None),
    )
    return _tell(state, now, what)


def advance(state: State, event: Event, rules: Rules) -> Step:
    """Take in one event.

    Returns:
        the new state, and what is to be done now.
    """
    if state.phase is Phase.GONE:
        return state, ()
    actions: tuple[Action, ...] = ()
    match event:
        case MessageReceived():
            state = _hear(state, event, rules)
        case PipeClosed(now=now) if state.listening:
            state = _close(replace(state, listening=False), now, rules)
        case Sampled():
            state, actions = _look(state, event, rules)
        case Ticked(now=now):
            state, actions = _tick(state, now, rules)
        case SupervisorSuspended():
            state = _set_forward(state, event)
        case EndRequested():
            state, actions = _end(state, event.now, event.diagnosis, rules, at_once=event.at_once)
        case Exited():
            state = _bury(state, event)
    return state, actions


def _tell(state: State, now: float, line: str) -> State:
    return replace(state, story=(*state.story, f"{now - state.launched_at:8.2f} s  {line}"))


def _hear(state: State, event: MessageReceived, rules: Rules) -> State:
    now = event.now
    transferring = isinstance(event.message, Transferring)
    state = replace(state, progress_at=now, alive_at=now, transferring=transferring)
    match event.message:
        case Hello(preloaded=preloaded):
            where = "were in memory already" if preloaded else "are loaded by the child"
            state = replace(state, said_hello=True)
            return _tell(state, now, f"the child's program runs; the engine's libraries {where}")
        case Started() as started:
            return _opened(state, now, started, rules)
        case Ready():
            state, line = _at_work(state), "the engine is loaded"
        case Transferring():
            return replace(state, starts_at=now)
        case Progress(audio_seconds=seconds):
            if state.separated_seconds == 0.0 < seconds:
                state = _tell(state, now, "the first segment is separated")
            return replace(_at_work(state), separated_seconds=seconds)
        case Separated():
            state, line = replace(state, separated=True), "all is separated"
        case Warned(kind=kind, text=text):
            line = f"warned ({kind}): {text}"
        case Finished() | Failed() as word:
            what = "finished" if isinstance(word, Finished) else f"failed: {word.message}"
            return _close(_tell(replace(state, last_word=word), now, what), now, rules)
    return _tell(state, now, line)


def _opened(state: State, now: float, started: Started, rules: Rules) -> State:
    info = started.info
    state = replace(state, opened=True)
    if rules.timeout is not None and info.seconds is not None:
        limit = rules.timeout.of(rules.expect(info.seconds))
        state = replace(state, timeout_seconds=limit)
    length = "unknown length" if info.seconds is None else f"{info.seconds:.1f} s"
    what = f"opened: {info.format} {info.subtype}, {info.sample_rate} Hz, {length}"
    return _tell(state, now, what)


def _at_work(state: State) -> State:
    """Count as started: the engine is loaded."""
    starting = state.phase is Phase.STARTING
    return replace(state, ready=True, phase=Phase.RUNNING if starting else state.phase)


def _close(state: State, now: float, rules: Rules) -> State:
    """Expect the end soon."""
    if state.phase is Phase.ENDING:
        return state
    return replace(state, phase=Phase.CLOSING, step_at=now + rules.timings.close)


def _look(state: State, event: Sampled, rules: Rules) -> Step:
    if event.exact:
        state = replace(state, peak_bytes=max(state.peak_bytes or 0, event.memory_bytes))
    used_cpu = event.cpu_seconds - state.cpu_seconds
    if used_cpu >= IDLE_CPU_SECONDS or used_cpu < 0 or event.io_bytes != state.io_bytes:
        state = replace(
            state, alive_at=event.now, cpu_seconds=event.cpu_seconds, io_bytes=event.io_bytes
        )
    elif event.waits_for_disk:
        state = replace(state, alive_at=event.now)
    if event.exact and event.memory_bytes > rules.ram_cap_bytes:
        at_once = event.memory_bytes > HARD_CAP * rules.ram_cap_bytes
        return _end(state, event.now, _over_cap(event, rules), rules, at_once=at_once)
    return _tick(state, event.now, rules)


def _over_cap(event: Sampled, rules: Rules) -> ExitDiagnosis:
    return ExitDiagnosis(
        reason=Reason.OVER_RAM_CAP,
        message=f"The child took {mebibytes(event.memory_bytes)} of memory; its cap is "
        f"{mebibytes(rules.ram_cap_bytes)}.",
        remedy="Raise --max-ram or --max-ram-per-file, or look into the file.",
    )


def _tick(state: State, now: float, rules: Rules) -> Step:
    match state.phase:
        case Phase.ENDING:
            return _next_step(state, now, rules)
        case Phase.CLOSING if now >= state.step_at:
            state = replace(state, phase=Phase.ENDING, overstayed=True)
            return _tell(state, now, "it had no more to say and did not exit: SIGKILL"), (
                Action.KILL,
            )
        case Phase.STARTING | Phase.RUNNING:
            diagnosis = _too_slow(state, now, rules)
            return (state, ()) if diagnosis is None else _end(state, now, diagnosis, rules)
    return state, ()


def _too_slow(state: State, now: float, rules: Rules) -> ExitDiagnosis | None:
    idle_seconds = IDLE_SHARE * rules.stall_seconds
    if state.timeout_seconds is not None and now - state.launched_at > state.timeout_seconds:
        return ExitDiagnosis(
            reason=Reason.TIMED_OUT,
            message=f"The child was not done after {state.timeout_seconds:.0f} s, its time limit.",
            remedy="Raise --timeout.",
        )
    if state.phase is Phase.STARTING and now - state.starts_at > rules.timings.start:
        what = f"did not start to work within {rules.timings.start:.0f} s"
    elif now - state.alive_at > idle_seconds:
        what = f"used neither processor nor disk for {now - state.alive_at:.1f} s"
    elif state.phase is Phase.RUNNING and now - state.progress_at > rules.stall_seconds:
        what = f"made no progress for {now - state.progress_at:.1f} s"
    else:
        return None
    if state.transferring:
        return ExitDiagnosis(
            reason=Reason.UNREACHABLE,
            message=f"A file was on its way from or to remote storage, and the child {what}.",
            remedy="Check the network and the storage, and run the same command again.",
        )
    return ExitDiagnosis(
        reason=Reason.STALLED,
        message=f"The child {what}.",
        remedy="Its log shows where it stood; raise --stall-timeout if the machine is only slow.",
    )


def _end(
    state: State, now: float, diagnosis: ExitDiagnosis, rules: Rules, *, at_once: bool = False
) -> Step:
    """Begin to end the child, in steps: ask, SIGTERM, SIGKILL; or go to the last of them.

    One that hangs writes its stacks first. The request comes only after: it would wake the thread
    that listens, and reading the frames of a thread that runs can crash the process.
    """
    if state.phase is not Phase.ENDING:
        hangs = diagnosis.reason in {Reason.STALLED, Reason.TIMED_OUT}
        dump = (Action.DUMP_STACKS,) if hangs else ()
        state = replace(
            state,
            phase=Phase.ENDING,
            ended_by_us=diagnosis,
            steps=(*dump, Action.ASK, Action.TERMINATE, Action.KILL),
            step_at=now,
        )
        state = _tell(state, now, f"to be ended, {diagnosis.reason}: {diagnosis.message}")
    if at_once and state.steps:
        state = replace(state, steps=())
        return _tell(state, now, "SIGKILL at once"), (Action.KILL,)
    return _next_step(state, now, rules)


def _next_step(state: State, now: float, rules: Rules) -> Step:
    if not state.steps or now < state.step_at:
        return state, ()
    step, *rest = state.steps
    pause, name = {
        Action.DUMP_STACKS: (rules.timings.stacks, None),
        Action.ASK: (rules.timings.ask, None),
        Action.TERMINATE: (rules.timings.terminate, "SIGTERM"),
        Action.KILL: (0.0, "SIGKILL"),
    }[step]
    state = replace(state, steps=tuple(rest), step_at=now + pause)
    return state if name is None else _tell(state, now, name), (step,)


def _set_forward(state: State, event: SupervisorSuspended) -> State:
    away = min(event.seconds, event.now - state.launched_at)  # it may have been started meanwhile
    state = replace(
        state,
        launched_at=state.launched_at + away,
        starts_at=min(state.starts_at + away, event.now),
        progress_at=min(state.progress_at + away, event.now),
        alive_at=min(state.alive_at + away, event.now),
        step_at=state.step_at + away,
    )
    return _tell(state, event.now, f"(the supervisor did not run for {away:.0f} s)")


def _bury(state: State, event: Exited) -> State:
    peak = "" if state.peak_bytes is None else f"; peak memory {mebibytes(state.peak_bytes)}"
    state = _tell(state, event.now, f"gone, {exit_name(event.exit_code)}{peak}")
    diagnosis = judge(
        state.last_word,
        event.exit_code,
        ended_by_us=state.ended_by_us,
        overstayed=state.overstayed,
        oom_kills=event.oom_kills,
        lost=event.lost,
    )
    return replace(state, phase=Phase.GONE, diagnosis=diagnosis)

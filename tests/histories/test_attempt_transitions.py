"""Histories of one child, replayed through the state machine without clock or process."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from stemsplit.core.audio_info import AudioInfo
from stemsplit.core.messages import (
    Failed,
    Finished,
    Hello,
    Progress,
    Ready,
    Separated,
    Started,
    Warned,
)
from stemsplit.core.outcome import Reason, WarningKind
from stemsplit.core.units import TimeLimit
from stemsplit.supervisor.attempt_state import (
    Action,
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
    Timings,
)
from stemsplit.supervisor.attempt_transitions import advance, initial_state
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis

if TYPE_CHECKING:
    from stemsplit.supervisor.attempt_state import Event

INFO = AudioInfo(format="WAV", subtype="PCM_16", sample_rate=44_100, channels=2, frames=44_100 * 60)
RESULT = Finished(stems=(), audio_seconds=60.0, peak_rss_bytes=700)
RULES = Rules(
    ram_cap_bytes=1000,
    stall_seconds=120.0,
    timeout=None,
    expect=lambda audio_seconds: audio_seconds / 10,
    timings=Timings(start=180, close=10, stacks=0.5, ask=1, terminate=2),
)
EVICTED = ExitDiagnosis(reason=Reason.EVICTED, message="Memory ran low.")


def _replay(*events: Event, rules: Rules = RULES) -> tuple[State, list[tuple[float, Action]]]:
    """Replay events of a child started at time 0; return its state and the timed actions."""
    state = initial_state(0.0, rules, "started")
    timed_actions: list[tuple[float, Action]] = []
    for event in events:
        state, actions = advance(state, event, rules)
        timed_actions += [(event.now, action) for action in actions]
    return state, timed_actions


def _startup(until: float = 2.0) -> tuple[Event, ...]:
    return (
        MessageReceived(now=0.1, message=Hello(preloaded=True)),
        MessageReceived(now=0.2, message=Started(info=INFO)),
        MessageReceived(now=until, message=Ready()),
    )


def _reason(state: State, exit_code: int) -> Reason:
    state, _ = advance(state, Exited(now=999.0, exit_code=exit_code), RULES)
    assert state.phase is Phase.GONE
    assert state.diagnosis is not None
    return state.diagnosis.reason


def test_a_successful_attempt() -> None:
    """Started, ready, progress, finished, exited: done, and the story has a line for each."""
    state, actions = _replay(
        *_startup(),
        MessageReceived(now=5, message=Progress(audio_seconds=30.0)),
        Sampled(now=6, memory_bytes=900, exact=True, cpu_seconds=4.0),
        MessageReceived(now=9, message=Progress(audio_seconds=60.0)),
        MessageReceived(now=9, message=Separated()),
        MessageReceived(now=9, message=Warned(kind=WarningKind.CLIPPED, text="clipped")),
        MessageReceived(now=10, message=RESULT),
        Exited(now=10.1, exit_code=0),
    )
    assert actions == []
    assert state.diagnosis == ExitDiagnosis(reason=Reason.DONE)
    assert (state.peak_bytes, state.peak_rss_bytes) == (900, 700)
    assert [line.split("s  ", 1)[1] for line in state.story] == [
        "started",
        "the child's program has started; engine libraries already loaded",
        "opened: WAV PCM_16, 44100 Hz, 60.0 s",
        "the engine is loaded",
        "the first segment is separated",
        "all segments are separated",
        "warning (clipped): clipped",
        "finished",
        "exited: exit code 0; peak memory 0 MiB",
    ]


def test_limits_hold_while_a_child_closes_its_files() -> None:
    """It may still fill the disk, stall, or exceed its cap."""
    before = (*_startup(), MessageReceived(now=9.0, message=Separated()))
    full = Failed(reason=Reason.DISK_FULL, message="The disk is full.")
    state, actions = _replay(*before, MessageReceived(now=10.0, message=full))
    assert (state.is_separated, actions) == (True, [])
    assert _reason(state, 1) is Reason.DISK_FULL
    state, actions = _replay(*before, Ticked(now=129.1))
    assert actions[0] == (129.1, Action.DUMP_STACKS)
    state, actions = _replay(*before, Sampled(now=10, memory_bytes=1001, exact=True, cpu_seconds=1))
    assert actions == [(10, Action.ASK)]
    assert _reason(state, 1) is Reason.OVER_RAM_CAP


def test_a_child_over_its_cap_is_terminated_in_steps() -> None:
    """A request, SIGTERM and SIGKILL, each once."""
    state, actions = _replay(
        *_startup(),
        Sampled(now=3.0, memory_bytes=1001, exact=True, cpu_seconds=1.0),
        Sampled(now=3.5, memory_bytes=1001, exact=True, cpu_seconds=1.5),
        Ticked(now=3.9),
        Ticked(now=4.0),
        Ticked(now=5.9),
        Ticked(now=6.0),
        Ticked(now=60.0),
    )
    assert actions == [(3.0, Action.ASK), (4.0, Action.TERMINATE), (6.0, Action.KILL)]
    assert _reason(state, -signal.SIGKILL) is Reason.OVER_RAM_CAP


def test_a_child_far_over_its_cap_is_killed_at_once() -> None:
    """Also if it grows after it was asked to exit."""
    _, actions = _replay(
        *_startup(), Sampled(now=3.0, memory_bytes=1251, exact=True, cpu_seconds=1.0)
    )
    assert actions == [(3.0, Action.KILL)]
    _, actions = _replay(
        *_startup(),
        Sampled(now=3.0, memory_bytes=1100, exact=True, cpu_seconds=1.0),
        Sampled(now=3.1, memory_bytes=1300, exact=True, cpu_seconds=1.1),
        Ticked(now=9.0),
    )
    assert actions == [(3.0, Action.ASK), (3.1, Action.KILL)]


def test_an_upper_bound_over_the_cap_does_not_count() -> None:
    """RSS above the cap proves nothing without PSS."""
    _, actions = _replay(
        *_startup(), Sampled(now=3.0, memory_bytes=5000, exact=False, cpu_seconds=1.0)
    )
    assert actions == []


def test_an_idle_child_stalls_in_a_third_of_the_time() -> None:
    """After 40 s without CPU or disk; it writes its stacks before it is asked to exit."""
    _, actions = _replay(
        *_startup(),
        Sampled(now=3, memory_bytes=1, exact=True, cpu_seconds=5.0),
        Sampled(now=30, memory_bytes=1, exact=True, cpu_seconds=5.01),
        Ticked(now=42.9),
        Ticked(now=43.1),
        Ticked(now=43.5),
        Ticked(now=43.6),
    )
    assert actions == [(43.1, Action.DUMP_STACKS), (43.6, Action.ASK)]


@pytest.mark.parametrize(
    "usage",
    [
        {"cpu_seconds": 6.0},
        {"cpu_seconds": 5.0, "io_bytes": 4096},
        {"cpu_seconds": 5.0, "waits_for_disk": True},
        {"cpu_seconds": 1.0},  # a grandchild has exited, so its time no longer counts
    ],
)
def test_a_child_that_uses_cpu_or_disk_is_not_idle(usage: dict[str, float]) -> None:
    """Waiting for the disk counts as well."""
    state, actions = _replay(
        *_startup(),
        Sampled(now=3, memory_bytes=1, exact=True, cpu_seconds=5.0),
        Sampled(now=42, memory_bytes=1, exact=True, **usage),  # type: ignore[arg-type]
        Ticked(now=50),
    )
    assert actions == []
    assert state.phase is Phase.RUNNING


def test_a_child_with_progress_is_not_idle() -> None:
    """The system may not report the usage of a child."""
    messages = [
        MessageReceived(now=now, message=Progress(audio_seconds=float(now)))
        for now in range(3, 300, 9)
    ]
    state, actions = _replay(*_startup(), *messages, Ticked(now=301))
    assert actions == []
    assert state.phase is Phase.RUNNING


def test_a_suspension_does_not_move_the_start_into_the_future() -> None:
    """The child was started during the suspension."""
    state, _ = _replay(
        SupervisorSuspended(now=3.0, seconds=50.0), MessageReceived(now=4.0, message=Ready())
    )
    assert state.launched_at <= 3.0
    assert state.active_at <= 4.0


def test_a_busy_child_stalls_without_progress() -> None:
    """It uses CPU but reports no progress."""
    busy = [
        Sampled(now=now, memory_bytes=1, exact=True, cpu_seconds=float(now))
        for now in range(3, 130, 10)
    ]
    state, actions = _replay(*_startup(), *busy)
    assert actions[0] == (123, Action.DUMP_STACKS)
    assert _reason(state, -signal.SIGTERM) is Reason.STALLED


def test_startup_has_its_own_timeout() -> None:
    """A child that does not load its engine stalls after `start`, however busy it is."""
    busy = [
        Sampled(now=now, memory_bytes=1, exact=True, cpu_seconds=float(now))
        for now in range(10, 200, 10)
    ]
    state, actions = _replay(*_startup()[:2], *busy)
    assert actions[0] == (190, Action.DUMP_STACKS)
    state, _ = advance(state, Exited(now=191, exit_code=-15), RULES)
    assert state.died_at_start


def test_a_time_limit_is_a_duration_or_a_multiple() -> None:
    """A duration counts from the start; a multiple, once the length of the track is known."""
    rules = replace(RULES, timeout=TimeLimit(seconds=30))
    _, actions = _replay(Ticked(now=30), Ticked(now=30.1), rules=rules)
    assert actions[0] == (30.1, Action.DUMP_STACKS)
    rules = replace(RULES, timeout=TimeLimit(factor=4))  # of 60 s / 10
    state, actions = _replay(*_startup(), Ticked(now=24), Ticked(now=24.1), rules=rules)
    assert actions[0] == (24.1, Action.DUMP_STACKS)
    assert _reason(state, -15) is Reason.TIMED_OUT
    unknown = Started(
        info=AudioInfo(format="FLAC", subtype="PCM_16", sample_rate=1, channels=1, frames=None)
    )
    alive = Sampled(now=29, memory_bytes=1, exact=True, cpu_seconds=9)
    _, actions = _replay(
        MessageReceived(now=1, message=unknown), alive, Ticked(now=60), rules=rules
    )
    assert actions == []


def test_a_suspended_machine_is_not_a_stall() -> None:
    """Eight hours in which nothing ran, not even the supervisor, do not count."""
    state, actions = _replay(
        *_startup(),
        Sampled(now=3, memory_bytes=1, exact=True, cpu_seconds=5.0),
        SupervisorSuspended(now=28_803, seconds=28_800),
        Ticked(now=28_803),
        Ticked(now=28_840),
    )
    assert actions == []
    assert "was suspended for 28800 s" in state.story[-1]


def test_a_suspension_delays_a_termination() -> None:
    """The deadlines of its steps move too."""
    _, actions = _replay(
        *_startup(),
        TerminationRequested(now=5, diagnosis=EVICTED),
        SupervisorSuspended(now=105, seconds=100),
        Ticked(now=105.5),
        Ticked(now=106),
    )
    assert actions == [(5, Action.ASK), (106, Action.TERMINATE)]


@pytest.mark.parametrize("result", [RESULT, None])
def test_a_child_that_does_not_exit_is_killed(result: Finished | None) -> None:
    """After its result, or after it has closed its pipe; the result still counts."""
    last: Event = PipeClosed(now=20) if result is None else MessageReceived(now=20, message=result)
    state, actions = _replay(*_startup(), last, Ticked(now=29.9), Ticked(now=30), Ticked(now=31))
    assert actions == [(30, Action.KILL)]
    expected = Reason.NO_RESULT if result is None else Reason.DONE
    assert _reason(state, -signal.SIGKILL) is expected


def test_a_child_that_exits_on_request_has_the_reason_of_the_supervisor() -> None:
    """The message of the child only confirms the request."""
    confirmation = Failed(reason=Reason.CANCELLED, message="The child ended because it was asked.")
    state, actions = _replay(
        *_startup(),
        TerminationRequested(now=5, diagnosis=EVICTED),
        MessageReceived(now=5.2, message=confirmation),
    )
    assert actions == [(5, Action.ASK)]
    assert _reason(state, 1) is Reason.EVICTED


def test_a_result_during_a_termination_counts() -> None:
    """The child finished before it noticed the request."""
    state, _ = _replay(
        *_startup(),
        TerminationRequested(now=5, diagnosis=EVICTED),
        MessageReceived(now=5.2, message=RESULT),
    )
    assert _reason(state, 0) is Reason.DONE


def test_a_termination_at_once_is_one_sigkill() -> None:
    """No other step precedes or follows it."""
    _, actions = _replay(
        *_startup(),
        TerminationRequested(now=5, diagnosis=EVICTED, at_once=True),
        Ticked(now=6),
        Ticked(now=60),
    )
    assert actions == [(5, Action.KILL)]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((), True),
        (_startup()[:1], False),  # while it opens its source: the file's fault
        (_startup()[:2], True),
        (_startup(), False),
    ],
)
def test_deaths_during_startup(events: tuple[Event, ...], *, expected: bool) -> None:
    """Deaths before the first message and during the load of the engine count as such."""
    state, _ = _replay(*events, Exited(now=5, exit_code=-11))
    assert state.died_at_start is expected


def test_events_after_the_exit_are_ignored() -> None:
    """Late samples and messages change nothing."""
    state, _ = _replay(*_startup(), Exited(now=5, exit_code=-11))
    unchanged, actions = advance(state, Ticked(now=9999), RULES)
    assert unchanged is state
    assert actions == ()

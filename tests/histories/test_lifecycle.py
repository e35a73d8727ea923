"""Histories of one child, replayed through the pure lifecycle: no clock, no process."""

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
    EndRequested,
    Exited,
    MessageReceived,
    Phase,
    PipeClosed,
    Rules,
    Sampled,
    State,
    SupervisorSuspended,
    Ticked,
    Timings,
)
from stemsplit.supervisor.attempt_transitions import advance, launched
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
    """Play events to a child that was started at time 0; give its state and what was done."""
    state = launched(0.0, rules, "started")
    done: list[tuple[float, Action]] = []
    for event in events:
        state, actions = advance(state, event, rules)
        done += [(event.now, action) for action in actions]
    return state, done


def _beginning(until: float = 2.0) -> tuple[Event, ...]:
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


def test_a_good_life() -> None:
    """Started, ready, progress, finished, gone: done, and its story tells it."""
    state, done = _replay(
        *_beginning(),
        MessageReceived(now=5, message=Progress(audio_seconds=30.0)),
        Sampled(now=6, memory_bytes=900, exact=True, cpu_seconds=4.0),
        MessageReceived(now=9, message=Progress(audio_seconds=60.0)),
        MessageReceived(now=9, message=Separated()),
        MessageReceived(now=9, message=Warned(kind=WarningKind.CLIPPED, text="clipped")),
        MessageReceived(now=10, message=RESULT),
        Exited(now=10.1, exit_code=0),
    )
    assert done == []
    assert state.diagnosis == ExitDiagnosis(reason=Reason.DONE)
    assert (state.peak_bytes, state.peak_rss_bytes) == (900, 700)
    assert [line.split("s  ", 1)[1] for line in state.story] == [
        "started",
        "the child's program runs; the engine's libraries were in memory already",
        "opened: WAV PCM_16, 44100 Hz, 60.0 s",
        "the engine is loaded",
        "the first segment is separated",
        "all is separated",
        "warned (clipped): clipped",
        "finished",
        "gone, exit code 0; peak memory 0 MiB",
    ]


def test_a_child_that_closes_its_files_is_watched_like_any_other() -> None:
    """It may still fail for want of disk, stall on it, or take too much."""
    before = (*_beginning(), MessageReceived(now=9.0, message=Separated()))
    full = Failed(reason=Reason.DISK_FULL, message="The disk is full.")
    state, done = _replay(*before, MessageReceived(now=10.0, message=full))
    assert (state.separated, done) == (True, [])
    assert _reason(state, 1) is Reason.DISK_FULL
    state, done = _replay(*before, Ticked(now=129.1))
    assert done[0] == (129.1, Action.DUMP_STACKS)
    state, done = _replay(*before, Sampled(now=10, memory_bytes=1001, exact=True, cpu_seconds=1))
    assert done == [(10, Action.ASK)]
    assert _reason(state, 1) is Reason.OVER_RAM_CAP


def test_over_its_cap_a_child_is_asked_then_told_then_killed() -> None:
    """In steps, each once."""
    state, done = _replay(
        *_beginning(),
        Sampled(now=3.0, memory_bytes=1001, exact=True, cpu_seconds=1.0),
        Sampled(now=3.5, memory_bytes=1001, exact=True, cpu_seconds=1.5),
        Ticked(now=3.9),
        Ticked(now=4.0),
        Ticked(now=5.9),
        Ticked(now=6.0),
        Ticked(now=60.0),
    )
    assert done == [(3.0, Action.ASK), (4.0, Action.TERMINATE), (6.0, Action.KILL)]
    assert _reason(state, -signal.SIGKILL) is Reason.OVER_RAM_CAP


def test_far_over_its_cap_a_child_is_killed_at_once() -> None:
    """There is no time for asking; also when it grows while it is being asked."""
    _, done = _replay(
        *_beginning(), Sampled(now=3.0, memory_bytes=1251, exact=True, cpu_seconds=1.0)
    )
    assert done == [(3.0, Action.KILL)]
    _, done = _replay(
        *_beginning(),
        Sampled(now=3.0, memory_bytes=1100, exact=True, cpu_seconds=1.0),
        Sampled(now=3.1, memory_bytes=1300, exact=True, cpu_seconds=1.1),
        Ticked(now=9.0),
    )
    assert done == [(3.0, Action.ASK), (3.1, Action.KILL)]


def test_a_bound_is_no_proof() -> None:
    """RSS above the cap says nothing where PSS was not read."""
    _, done = _replay(
        *_beginning(), Sampled(now=3.0, memory_bytes=5000, exact=False, cpu_seconds=1.0)
    )
    assert done == []


def test_a_child_that_uses_nothing_stalls_in_a_third_of_the_time() -> None:
    """Neither processor nor disk for 40 s: its stacks are written, and only then is it woken."""
    _, done = _replay(
        *_beginning(),
        Sampled(now=3, memory_bytes=1, exact=True, cpu_seconds=5.0),
        Sampled(now=30, memory_bytes=1, exact=True, cpu_seconds=5.01),
        Ticked(now=42.9),
        Ticked(now=43.1),
        Ticked(now=43.5),
        Ticked(now=43.6),
    )
    assert done == [(43.1, Action.DUMP_STACKS), (43.6, Action.ASK)]


@pytest.mark.parametrize(
    "sign",
    [
        {"cpu_seconds": 6.0},
        {"cpu_seconds": 5.0, "io_bytes": 4096},
        {"cpu_seconds": 5.0, "waits_for_disk": True},
        {"cpu_seconds": 1.0},  # a grandchild has ended and taken its count with it
    ],
)
def test_signs_of_life(sign: dict[str, float]) -> None:
    """Processor, disk, waiting for the disk: none of these is idle."""
    state, done = _replay(
        *_beginning(),
        Sampled(now=3, memory_bytes=1, exact=True, cpu_seconds=5.0),
        Sampled(now=42, memory_bytes=1, exact=True, **sign),  # type: ignore[arg-type]
        Ticked(now=50),
    )
    assert done == []
    assert state.phase is Phase.RUNNING


def test_progress_is_a_sign_of_life_where_nothing_can_be_sampled() -> None:
    """A system may keep a child's figures from us."""
    words = [
        MessageReceived(now=now, message=Progress(audio_seconds=float(now)))
        for now in range(3, 300, 9)
    ]
    state, done = _replay(*_beginning(), *words, Ticked(now=301))
    assert done == []
    assert state.phase is Phase.RUNNING


def test_a_child_that_was_started_while_the_supervisor_was_away() -> None:
    """Its start does not come to lie in the future."""
    state, _ = _replay(
        SupervisorSuspended(now=3.0, seconds=50.0), MessageReceived(now=4.0, message=Ready())
    )
    assert state.launched_at <= 3.0
    assert state.alive_at <= 4.0


def test_a_child_that_spins_stalls_for_want_of_progress() -> None:
    """It uses the processor and comes no further."""
    busy = [
        Sampled(now=now, memory_bytes=1, exact=True, cpu_seconds=float(now))
        for now in range(3, 130, 10)
    ]
    state, done = _replay(*_beginning(), *busy)
    assert done[0] == (123, Action.DUMP_STACKS)
    assert _reason(state, -signal.SIGTERM) is Reason.STALLED


def test_start_up_has_a_time_of_its_own() -> None:
    """A child that never loads its engine stalls after `start`, however busy it is."""
    busy = [
        Sampled(now=now, memory_bytes=1, exact=True, cpu_seconds=float(now))
        for now in range(10, 200, 10)
    ]
    state, done = _replay(*_beginning()[:2], *busy)
    assert done[0] == (190, Action.DUMP_STACKS)
    state, _ = advance(state, Exited(now=191, exit_code=-15), RULES)
    assert state.died_at_start


def test_a_time_limit_is_a_duration_or_a_multiple() -> None:
    """A duration counts from the start; a multiple, once the length of the track is known."""
    rules = replace(RULES, timeout=TimeLimit(seconds=30))
    _, done = _replay(Ticked(now=30), Ticked(now=30.1), rules=rules)
    assert done[0] == (30.1, Action.DUMP_STACKS)
    rules = replace(RULES, timeout=TimeLimit(factor=4))  # of 60 s / 10
    state, done = _replay(*_beginning(), Ticked(now=24), Ticked(now=24.1), rules=rules)
    assert done[0] == (24.1, Action.DUMP_STACKS)
    assert _reason(state, -15) is Reason.TIMED_OUT
    unknown = Started(
        info=AudioInfo(format="FLAC", subtype="PCM_16", sample_rate=1, channels=1, frames=None)
    )
    alive = Sampled(now=29, memory_bytes=1, exact=True, cpu_seconds=9)
    _, done = _replay(MessageReceived(now=1, message=unknown), alive, Ticked(now=60), rules=rules)
    assert done == []


def test_a_suspended_machine_is_not_a_stall() -> None:
    """Eight hours in which nothing ran, the supervisor included, count for nothing."""
    state, done = _replay(
        *_beginning(),
        Sampled(now=3, memory_bytes=1, exact=True, cpu_seconds=5.0),
        SupervisorSuspended(now=28_803, seconds=28_800),
        Ticked(now=28_803),
        Ticked(now=28_840),
    )
    assert done == []
    assert "did not run for 28800 s" in state.story[-1]


def test_a_suspension_does_not_cut_short_the_end() -> None:
    """The steps by which a child is ended wait as well."""
    _, done = _replay(
        *_beginning(),
        EndRequested(now=5, diagnosis=EVICTED),
        SupervisorSuspended(now=105, seconds=100),
        Ticked(now=105.5),
        Ticked(now=106),
    )
    assert done == [(5, Action.ASK), (106, Action.TERMINATE)]


@pytest.mark.parametrize("word", [RESULT, None])
def test_a_child_that_does_not_exit_is_killed_after_a_while(word: Finished | None) -> None:
    """After its last word, or after it has closed its pipe; a result counts all the same."""
    last: Event = PipeClosed(now=20) if word is None else MessageReceived(now=20, message=word)
    state, done = _replay(*_beginning(), last, Ticked(now=29.9), Ticked(now=30), Ticked(now=31))
    assert done == [(30, Action.KILL)]
    expected = Reason.NO_RESULT if word is None else Reason.DONE
    assert _reason(state, -signal.SIGKILL) is expected


def test_a_child_that_answers_the_request_ends_for_our_reason() -> None:
    """It says that it was asked to; the outcome says why."""
    answer = Failed(reason=Reason.CANCELLED, message="The child ended because it was asked.")
    state, done = _replay(
        *_beginning(),
        EndRequested(now=5, diagnosis=EVICTED),
        MessageReceived(now=5.2, message=answer),
    )
    assert done == [(5, Action.ASK)]
    assert _reason(state, 1) is Reason.EVICTED


def test_a_result_that_comes_while_the_child_is_ended_counts() -> None:
    """It was quicker."""
    state, _ = _replay(
        *_beginning(),
        EndRequested(now=5, diagnosis=EVICTED),
        MessageReceived(now=5.2, message=RESULT),
    )
    assert _reason(state, 0) is Reason.DONE


def test_asked_for_at_once_means_at_once() -> None:
    """One kill and nothing else."""
    _, done = _replay(
        *_beginning(),
        EndRequested(now=5, diagnosis=EVICTED, at_once=True),
        Ticked(now=6),
        Ticked(now=60),
    )
    assert done == [(5, Action.KILL)]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((), True),
        (_beginning()[:1], False),  # while it opened its file: the file's fault
        (_beginning()[:2], True),
        (_beginning(), False),
    ],
)
def test_deaths_at_start(events: tuple[Event, ...], expected: bool) -> None:  # noqa: FBT001
    """Before it speaks, and while its engine loads; not while it opens its file."""
    state, _ = _replay(*events, Exited(now=5, exit_code=-11))
    assert state.died_at_start is expected


def test_nothing_happens_to_one_that_is_gone() -> None:
    """Late samples and messages change nothing."""
    state, _ = _replay(*_beginning(), Exited(now=5, exit_code=-11))
    again, actions = advance(state, Ticked(now=9999), RULES)
    assert again is state
    assert actions == ()

"""Children that misbehave, as real processes under both start methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness import FaultyTrackTask, run_pool

from stemsplit.core.outcome import Reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stemsplit.supervisor.launcher import StartMethod

FAULTS = [
    # program, reason, words of the message, seconds within which the track is settled
    ("behave", Reason.DONE, "", 1),
    ("leak", Reason.OVER_RAM_CAP, "its cap is 200 MiB", 3),
    ("gulp", Reason.OVER_RAM_CAP, "its cap is 200 MiB", 3),
    ("hang_in_python", Reason.STALLED, "neither processor nor disk", 3),
    ("hang_in_c", Reason.STALLED, "neither processor nor disk", 3),
    ("spin", Reason.STALLED, "no progress", 5),
    ("ignore_terminate", Reason.STALLED, "neither processor nor disk", 3),
    ("be_stopped", Reason.STALLED, "neither processor nor disk", 3),
    ("stop_in_a_message", Reason.STALLED, "neither processor nor disk", 3),
    ("exit_without_a_result", Reason.NO_RESULT, "without a result", 1),
    ("exit_with_a_code", Reason.CRASHED, "exit code 7", 1),
    ("segfault", Reason.CRASHED, "SIGSEGV", 1),
    ("kill_itself", Reason.CRASHED, "SIGKILL", 1),
    ("raise_unpicklable", Reason.CRASHED, "exit code 1", 1),
    ("print_garbage", Reason.DONE, "", 1),
    ("leave_a_grandchild", Reason.DONE, "", 1),
    ("leave_a_daemon", Reason.DONE, "", 1),
    ("die_while_logging", Reason.CRASHED, "SIGKILL", 2),
    ("die_in_a_message", Reason.CRASHED, "SIGKILL", 1),
    ("talk_without_an_end", Reason.DONE, "", 3),
    ("send_garbage", Reason.NO_RESULT, "stopped talking", 2),
    ("announce_too_much", Reason.NO_RESULT, "stopped talking", 2),
    ("crash_after_the_result", Reason.CRASHED, "SIGSEGV", 1),
    ("stay_after_the_result", Reason.DONE, "", 2),
]

SLACK_SECONDS = 3
"""What a busy machine may add."""


@pytest.mark.parametrize(("fault", "reason", "words", "seconds"), FAULTS, ids=str)
def test_every_fault_is_found_out(
    tmp_path: Path,
    start_method: StartMethod,
    matrix: Callable[[str], None],
    fault: str,
    reason: Reason,
    words: str,
    seconds: float,
) -> None:
    """In time, with its reason and story; the other tracks finish, and nothing is left behind."""
    names = ["take_a_while", fault, "behave-1"]
    track_tasks = [FaultyTrackTask(name, tmp_path) for name in names]
    ran = run_pool(track_tasks, start_method)
    outcome = ran.outcomes[fault]
    told = ran.seconds(fault)
    matrix(f"| {fault} | {start_method} | {told:.1f} | {outcome.reason} | {outcome.message} |")
    assert outcome.reason is reason
    assert words in outcome.message
    assert told < seconds + SLACK_SECONDS
    others = [ran.outcomes[name].reason for name in names if name != fault]
    assert others == [Reason.DONE] * len(others)
    (attempt,) = outcome.attempts
    if reason is not Reason.DONE:
        assert attempt.story[0].endswith("started, 1 thread")
        assert "gone, " in attempt.story[-1]
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "stack"),
    [("hang_in_python", "hang_in_python"), ("hang_in_c", "hang_in_c"), ("spin", "spin")],
)
def test_a_stalled_child_leaves_its_stack(
    tmp_path: Path, start_method: StartMethod, fault: str, stack: str
) -> None:
    """The log shows in which function it stood, also when it held the interpreter's lock."""
    track_task = FaultyTrackTask(fault, tmp_path)
    run_pool([track_task], start_method)
    assert f"in {stack}" in track_task.log
    assert "The supervisor's account:" in track_task.log
    assert "SIGTERM" in track_task.log or "SIGKILL" in track_task.log


def test_everything_a_child_says_is_in_its_log(tmp_path: Path, start_method: StartMethod) -> None:
    """Logging with its traceback, what Python prints and what C writes; the last lines are told."""
    track_task = FaultyTrackTask("log_and_print", tmp_path)
    (outcome,) = run_pool([track_task], start_method).outcomes.values()
    said = ("INFO some.library: logged at level info", "ValueError: invalid literal", "printed")
    for text in (*said, "written by C"):
        assert text in track_task.log
        assert text in outcome.attempts[0].log_tail


def test_an_uncaught_exception_is_told_by_the_log(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """Nothing of an exception is pickled; its traceback is text in the log."""
    (outcome,) = run_pool(
        [FaultyTrackTask("raise_unpicklable", tmp_path)], start_method
    ).outcomes.values()
    assert "UnpicklableError: this cannot be pickled" in outcome.attempts[0].log_tail


def test_every_track_gets_one_end(tmp_path: Path, start_method: StartMethod) -> None:
    """Seven tracks, two at a time: seven ends."""
    track_tasks = [FaultyTrackTask(f"behave-{number}", tmp_path) for number in range(7)]
    ran = run_pool(track_tasks, start_method)
    assert {outcome.reason for outcome in ran.outcomes.values()} == {Reason.DONE}
    assert len(ran.outcomes) == 7

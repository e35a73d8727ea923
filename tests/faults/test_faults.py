"""Faults of children, as real processes with both start methods."""

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
    # program, reason, part of the message, seconds until the track has ended
    ("succeed", Reason.DONE, "", 1),
    ("leak", Reason.OVER_RAM_CAP, "its cap is 200 MiB", 3),
    ("allocate_at_once", Reason.OVER_RAM_CAP, "its cap is 200 MiB", 3),
    ("hang_in_python", Reason.STALLED, "neither CPU nor disk", 3),
    ("hang_in_c", Reason.STALLED, "neither CPU nor disk", 3),
    ("spin", Reason.STALLED, "no progress", 5),
    ("ignore_sigterm", Reason.STALLED, "neither CPU nor disk", 3),
    ("stop_itself", Reason.STALLED, "neither CPU nor disk", 3),
    ("hang_during_a_message", Reason.STALLED, "neither CPU nor disk", 3),
    ("exit_without_a_result", Reason.NO_RESULT, "without a result", 1),
    ("exit_with_a_code", Reason.CRASHED, "exited with code 7 and", 1),
    ("segfault", Reason.CRASHED, "SIGSEGV", 1),
    ("kill_itself", Reason.CRASHED, "SIGKILL", 1),
    ("raise_unpicklable", Reason.CRASHED, "exited with code 1 and", 1),
    ("print_garbage", Reason.DONE, "", 1),
    ("leave_a_grandchild", Reason.DONE, "", 1),
    ("leave_a_daemon", Reason.DONE, "", 1),
    ("die_while_logging", Reason.CRASHED, "SIGKILL", 2),
    ("die_during_a_message", Reason.CRASHED, "SIGKILL", 1),
    ("flood_pipe", Reason.DONE, "", 3),
    ("send_garbage", Reason.NO_RESULT, "stopped communicating", 2),
    ("announce_huge_message", Reason.NO_RESULT, "stopped communicating", 2),
    ("crash_after_the_result", Reason.CRASHED, "SIGSEGV", 1),
    ("hang_after_the_result", Reason.DONE, "", 2),
]

SLACK_SECONDS = 3
"""Additional time on a busy machine."""


@pytest.mark.parametrize(("fault", "reason", "message", "seconds"), FAULTS, ids=str)
def test_every_fault_is_diagnosed(
    tmp_path: Path,
    start_method: StartMethod,
    fault_table: Callable[[str], None],
    fault: str,
    reason: Reason,
    message: str,
    seconds: float,
) -> None:
    """The reason, the message and the time are as expected, and the other tracks finish."""
    names = ["work_for_a_second", fault, "succeed-1"]
    track_tasks = [FaultyTrackTask(name, tmp_path) for name in names]
    run = run_pool(track_tasks, start_method)
    outcome = run.outcomes[fault]
    duration = run.seconds(fault)
    fault_table(
        f"| {fault} | {start_method} | {duration:.1f} | {outcome.reason} | {outcome.message} |"
    )
    assert outcome.reason is reason
    assert message in outcome.message
    assert duration < seconds + SLACK_SECONDS
    others = [run.outcomes[name].reason for name in names if name != fault]
    assert others == [Reason.DONE] * len(others)
    (attempt,) = outcome.attempts
    if reason is not Reason.DONE:
        assert attempt.story[0].endswith("started, 1 thread")
        assert "exited: " in attempt.story[-1]
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "stack"),
    [("hang_in_python", "hang_in_python"), ("hang_in_c", "hang_in_c"), ("spin", "spin")],
)
def test_the_log_of_a_stalled_child_has_its_stack(
    tmp_path: Path, start_method: StartMethod, fault: str, stack: str
) -> None:
    """The log names the function, even if the child holds the interpreter lock."""
    track_task = FaultyTrackTask(fault, tmp_path)
    run_pool([track_task], start_method)
    assert f"in {stack}" in track_task.log
    assert "Supervisor log:" in track_task.log
    assert "SIGTERM" in track_task.log or "SIGKILL" in track_task.log


def test_the_log_has_all_output_of_a_child(tmp_path: Path, start_method: StartMethod) -> None:
    """Log records, tracebacks, and output of Python and C; the outcome has the last lines."""
    track_task = FaultyTrackTask("log_and_print", tmp_path)
    (outcome,) = run_pool([track_task], start_method).outcomes.values()
    by_python = (
        "INFO some.library: logged at level info",
        "ValueError: invalid literal",
        "printed",
    )
    for text in (*by_python, "written by C"):
        assert text in track_task.log
        assert text in outcome.attempts[0].log_tail


def test_the_log_has_the_traceback_of_an_uncaught_exception(
    tmp_path: Path, start_method: StartMethod
) -> None:
    """The exception itself cannot be pickled, and is not."""
    (outcome,) = run_pool(
        [FaultyTrackTask("raise_unpicklable", tmp_path)], start_method
    ).outcomes.values()
    assert "UnpicklableError: this cannot be pickled" in outcome.attempts[0].log_tail


def test_every_track_has_one_outcome(tmp_path: Path, start_method: StartMethod) -> None:
    """Seven tracks, two at a time."""
    track_tasks = [FaultyTrackTask(f"succeed-{number}", tmp_path) for number in range(7)]
    run = run_pool(track_tasks, start_method)
    assert {outcome.reason for outcome in run.outcomes.values()} == {Reason.DONE}
    assert len(run.outcomes) == 7

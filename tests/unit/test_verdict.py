"""How a child's end is judged."""

from __future__ import annotations

import pytest

from stemsplit.core.messages import Failed, Finished
from stemsplit.core.outcome import Reason
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis, exit_name, judge, signal_name

DONE = Finished(stems=(), audio_seconds=1.0)
BAD = Failed(reason=Reason.BAD_INPUT, message="It is empty.", remedy="Copy it.", traceback="T")
STALLED = ExitDiagnosis(reason=Reason.STALLED, message="It stood still.")


@pytest.mark.parametrize(
    ("last_word", "exit_code", "overstayed", "reason"),
    [
        (DONE, 0, False, Reason.DONE),
        (DONE, -9, True, Reason.DONE),
        (DONE, 1, False, Reason.CRASHED),
        (DONE, -11, False, Reason.CRASHED),
        (BAD, 1, False, Reason.BAD_INPUT),
        (BAD, -9, True, Reason.BAD_INPUT),
        (None, 0, False, Reason.NO_RESULT),
        (None, -9, True, Reason.NO_RESULT),
        (None, 7, False, Reason.CRASHED),
        (None, -11, False, Reason.CRASHED),
    ],
)
def test_a_child_is_believed_only_when_word_and_exit_agree(
    last_word: Finished | Failed | None,
    exit_code: int,
    overstayed: bool,  # noqa: FBT001 - a column of the table
    reason: Reason,
) -> None:
    """Every combination of last word and exit has one reason, and all but success a sentence."""
    diagnosis = judge(last_word, exit_code, overstayed=overstayed)
    assert diagnosis.reason is reason
    assert bool(diagnosis.message) == (reason is not Reason.DONE)


@pytest.mark.parametrize(
    ("oom_kills", "reason", "words"),
    [
        (1, Reason.KILLED_BY_KERNEL, "SIGKILL, by the kernel"),
        (None, Reason.KILLED_BY_KERNEL, "probably by the kernel"),
        (0, Reason.CRASHED, "neither by stemsplit nor by the kernel"),
    ],
)
def test_the_kernel_s_kill_is_told_apart(oom_kills: int | None, reason: Reason, words: str) -> None:
    """A SIGKILL that was not ours is the kernel's only if its count has risen or is not known."""
    diagnosis = judge(None, -9, oom_kills=oom_kills)
    assert diagnosis.reason is reason
    assert words in diagnosis.message


@pytest.mark.parametrize(("word", "exit_code"), [(None, -15), (None, -9), (BAD, 1)])
def test_what_we_ended_has_our_reason(word: Finished | Failed | None, exit_code: int) -> None:
    """Whatever it said and however it went, the supervisor knows why."""
    assert judge(word, exit_code, ended_by_us=STALLED) is STALLED


def test_a_result_in_time_counts_although_we_were_ending_the_child() -> None:
    """Its stems are on disk, and it exited well."""
    assert judge(DONE, 0, ended_by_us=STALLED).reason is Reason.DONE


def test_signals_are_named() -> None:
    """A person reads SIGSEGV, not -11."""
    assert "SIGSEGV" in judge(None, -11).message
    assert signal_name(12345) == "signal 12345"
    assert exit_name(-15) == "SIGTERM"
    assert exit_name(3) == "exit code 3"


def test_a_result_counts_where_nobody_knows_the_exit_code() -> None:
    """The fork server is gone, or another thread of the program took its answer."""
    assert judge(DONE, 255).reason is Reason.DONE
    assert judge(DONE, 255, lost=True).reason is Reason.DONE
    assert judge(DONE, -15, ended_by_us=STALLED).reason is Reason.DONE


def test_the_fork_server_s_death_is_no_fault_of_its_children() -> None:
    """They go back in line without blame, but for one that was cancelled."""
    assert judge(None, 255, lost=True).reason is Reason.EVICTED
    cancelled = ExitDiagnosis(reason=Reason.CANCELLED)
    assert judge(None, 255, ended_by_us=cancelled, lost=True) is cancelled
    assert judge(DONE, -15, ended_by_us=cancelled) is cancelled

"""How a child's end is judged."""

from __future__ import annotations

import pytest

from stemsplit.job import Reason
from stemsplit.messages import Failed, Finished
from stemsplit.supervisor.verdict import judge, signal_name

DONE = Finished(stems=(), audio_seconds=1.0)
BAD = Failed(reason=Reason.BAD_INPUT, message="It is empty.", remedy="Copy it.", traceback="T")


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
        (None, -9, False, Reason.CRASHED),
    ],
)
def test_a_child_is_believed_only_when_word_and_exit_agree(
    last_word: Finished | Failed | None,
    exit_code: int,
    overstayed: bool,  # noqa: FBT001 - a column of the table
    reason: Reason,
) -> None:
    """Every combination of last word and exit has one reason, and all but success a sentence."""
    verdict = judge(last_word, exit_code, overstayed=overstayed, log="last words")
    assert verdict.reason is reason
    assert bool(verdict.message) == (reason is not Reason.DONE)


def test_signals_are_named() -> None:
    """A person reads SIGSEGV, not -11; the log's end goes with it."""
    verdict = judge(None, -11, log="last words")
    assert "SIGSEGV" in verdict.message
    assert verdict.detail == "last words"
    assert signal_name(12345) == "signal 12345"


def test_a_kill_that_was_not_ours_points_to_memory() -> None:
    """The usual reason for a SIGKILL from outside is the system's want of memory."""
    assert "memory" in judge(None, -9).remedy

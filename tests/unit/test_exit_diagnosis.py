"""Diagnosis of how a child exited."""

from __future__ import annotations

import pytest

from stemsplit.core.messages import Failed, Finished
from stemsplit.core.outcome import Reason
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis, diagnose, exit_name, signal_name

DONE = Finished(stems=(), audio_seconds=1.0)
BAD = Failed(reason=Reason.BAD_INPUT, message="It is empty.", remedy="Copy it.", traceback="T")
STALLED = ExitDiagnosis(reason=Reason.STALLED, message="It made no progress.")


@pytest.mark.parametrize(
    ("last_message", "exit_code", "failed_to_exit", "reason"),
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
def test_a_result_counts_only_if_the_exit_code_agrees(
    last_message: Finished | Failed | None,
    exit_code: int,
    failed_to_exit: bool,  # noqa: FBT001 - a column of the table
    reason: Reason,
) -> None:
    """Each combination of last message and exit code has a reason; failures have a message."""
    diagnosis = diagnose(last_message, exit_code, failed_to_exit=failed_to_exit)
    assert diagnosis.reason is reason
    assert bool(diagnosis.message) == (reason is not Reason.DONE)


@pytest.mark.parametrize(
    ("oom_kills", "reason", "text"),
    [
        (1, Reason.KILLED_BY_KERNEL, "was killed by the kernel"),
        (None, Reason.KILLED_BY_KERNEL, "was probably killed by the kernel"),
        (0, Reason.CRASHED, "not by stemsplit or the kernel"),
    ],
)
def test_a_kill_by_the_kernel_is_recognised(
    oom_kills: int | None, reason: Reason, text: str
) -> None:
    """Another SIGKILL is the kernel's only if its kill count has risen or is unknown."""
    diagnosis = diagnose(None, -9, oom_kills=oom_kills)
    assert diagnosis.reason is reason
    assert text in diagnosis.message


@pytest.mark.parametrize(("last_message", "exit_code"), [(None, -15), (None, -9), (BAD, 1)])
def test_a_terminated_child_has_the_supervisor_s_reason(
    last_message: Finished | Failed | None, exit_code: int
) -> None:
    """The termination cause outweighs the child's last message and exit code."""
    assert diagnose(last_message, exit_code, termination_cause=STALLED) is STALLED


def test_a_result_counts_although_the_child_was_being_terminated() -> None:
    """The child exited with code 0, so its stems are complete."""
    assert diagnose(DONE, 0, termination_cause=STALLED).reason is Reason.DONE


def test_signals_are_named() -> None:
    """The user reads SIGSEGV, not -11."""
    assert "SIGSEGV" in diagnose(None, -11).message
    assert signal_name(12345) == "signal 12345"
    assert exit_name(-15) == "SIGTERM"
    assert exit_name(3) == "exit code 3"


def test_a_result_counts_if_the_exit_code_is_unknown() -> None:
    """The fork server is gone, or another thread of the program read the exit code."""
    assert diagnose(DONE, 255).reason is Reason.DONE
    assert diagnose(DONE, 255, lost=True).reason is Reason.DONE
    assert diagnose(DONE, -15, termination_cause=STALLED).reason is Reason.DONE


def test_the_death_of_the_fork_server_is_not_the_fault_of_its_children() -> None:
    """Their tracks are requeued without counting, except cancelled ones."""
    assert diagnose(None, 255, lost=True).reason is Reason.EVICTED
    cancelled = ExitDiagnosis(reason=Reason.CANCELLED)
    assert diagnose(None, 255, termination_cause=cancelled, lost=True) is cancelled
    assert diagnose(DONE, -15, termination_cause=cancelled) is cancelled

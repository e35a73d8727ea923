"""Runs in the supervisor. Diagnoses why a child exited, from its last message and exit code. Pure.

A child is done only if both agree: exit code 0 without a result is a failure, and so is a result
followed by a crash.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.messages import Failed, Finished
from stemsplit.core.outcome import Reason

if TYPE_CHECKING:
    from stemsplit.core.errors import StemsplitError

UNKNOWN_EXIT_CODE = 255
"""What multiprocessing reports for a fork server's child whose exit code is lost, or was read by
another thread of the program that polls all children (CPython, popen_forkserver.Popen.poll)."""

_REPORT_IT = "Read the log to see what the child was doing, and report the problem."


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitDiagnosis:
    """Why a child exited, or why a track ended without one.

    Attributes:
        reason, message, remedy: see `stemsplit.core.outcome.Attempt`.
        detail: traceback that the child sent; may be empty.
    """

    reason: Reason
    message: str = ""
    remedy: str = ""
    detail: str = ""

    @classmethod
    def of(cls, error: StemsplitError) -> ExitDiagnosis:
        """Return the diagnosis that corresponds to `error`."""
        return cls(reason=Reason.of(error), message=error.message, remedy=error.remedy)


CANCELLED = ExitDiagnosis(reason=Reason.CANCELLED, message="The track was cancelled.")


def diagnose(
    last_message: Finished | Failed | None,
    exit_code: int,
    *,
    termination_cause: ExitDiagnosis | None = None,
    failed_to_exit: bool = False,
    oom_kills: int | None = None,
    lost: bool = False,
) -> ExitDiagnosis:
    """Diagnose a child that has exited.

    Args:
        last_message: its result or failure; None if it sent neither.
        exit_code: 0 or more, or minus the number of the signal that killed it.
        termination_cause: why the supervisor terminated it; None if it did not.
        failed_to_exit: whether the supervisor killed it because it had closed its pipe or sent its
            last message, and did not exit. Its result still counts: the stems were on disk before
            it was sent.
        oom_kills: number of the kernel's out-of-memory kills since the child was started; None if
            unknown.
        lost: whether the fork server that started it is gone, so its exit code is unknown.
    """
    exited_cleanly = exit_code == 0 or failed_to_exit
    if isinstance(last_message, Finished):
        if termination_cause is not None and termination_cause.reason is not Reason.CANCELLED:
            exited_cleanly = True  # its result was on disk before it was terminated
        if exited_cleanly or lost or exit_code == UNKNOWN_EXIT_CODE:
            return ExitDiagnosis(reason=Reason.DONE)
    if termination_cause is not None:
        return termination_cause
    if isinstance(last_message, Failed):
        return ExitDiagnosis(
            reason=last_message.reason,
            message=last_message.message,
            remedy=last_message.remedy,
            detail=last_message.traceback,
        )
    if lost:
        return ExitDiagnosis(
            reason=Reason.EVICTED,
            message="The fork server was killed, and the child was lost with it; the track will be "
            "retried.",
        )
    if exit_code < 0 and not failed_to_exit:
        return _killed(signal_name(-exit_code), oom_kills)
    reason = Reason.NO_RESULT if exited_cleanly else Reason.CRASHED
    if failed_to_exit:
        message = "The child stopped communicating with the supervisor and did not exit."
    elif exit_code == 0:
        message = "The child exited normally but without a result."
    else:
        message = f"The child exited with code {exit_code} and no explanation."
    return ExitDiagnosis(reason=reason, message=message, remedy=_REPORT_IT)


def signal_name(number: int) -> str:
    """Return `SIGSEGV` for 11, and `signal 99` for a number without a name on this system."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def exit_name(exit_code: int) -> str:
    """Return `exit code 7` for 7, and `SIGSEGV` for -11."""
    return f"exit code {exit_code}" if exit_code >= 0 else signal_name(-exit_code)


def _killed(name: str, oom_kills: int | None) -> ExitDiagnosis:
    if name != "SIGKILL":
        message = f"The child was killed by {name}."
        return ExitDiagnosis(reason=Reason.CRASHED, message=message, remedy=_REPORT_IT)
    if oom_kills == 0:
        return ExitDiagnosis(
            reason=Reason.CRASHED,
            message="The child was killed by SIGKILL, but not by stemsplit or the kernel's "
            "out-of-memory killer.",
            remedy="Find out what kills processes on this machine, and run the same command again.",
        )
    certainty = "" if oom_kills else "probably "
    return ExitDiagnosis(
        reason=Reason.KILLED_BY_KERNEL,
        message=f"The child was {certainty}killed by the kernel's out-of-memory killer (SIGKILL).",
        remedy="Close other programs, or limit stemsplit with --max-ram or --jobs 1.",
    )

"""Runs in the supervisor. How a child ended, judged from what it said and its exit code. Pure.

A child is believed only when its last word and its exit code agree: exit 0 without a result is a
failure, and so is a result followed by a crash.
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
"""What multiprocessing says of a fork server's child whose exit code was lost, or read by another
thread of the program that polls all children (CPython, popen_forkserver.Popen.poll)."""

_LOOK_CLOSER = "Read the log to see what it was at, and report it."


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitDiagnosis:
    """Why a child ended, in words for a person.

    Attributes:
        reason, message, remedy: see `stemsplit.core.outcome.Attempt`.
        detail: the child's own traceback, if it sent one.
    """

    reason: Reason
    message: str = ""
    remedy: str = ""
    detail: str = ""

    @classmethod
    def of(cls, error: StemsplitError) -> ExitDiagnosis:
        """Give the verdict on something that failed with `error`."""
        return cls(reason=Reason.of(error), message=error.message, remedy=error.remedy)


def judge(
    last_word: Finished | Failed | None,
    exit_code: int,
    *,
    ended_by_us: ExitDiagnosis | None = None,
    overstayed: bool = False,
    oom_kills: int | None = None,
    lost: bool = False,
) -> ExitDiagnosis:
    """Judge a child that has ended.

    Args:
        last_word: its result or its own account of its failure, None if it sent neither.
        exit_code: 0 or more as it returned it, or minus the number of the signal that ended it.
        ended_by_us: why the supervisor ended it, None if it did not.
        overstayed: whether the supervisor killed it because it had nothing more to say and did
            not exit. Its result counts all the same: the stems were on disk before it was sent.
        oom_kills: how many processes the kernel has killed for want of memory since the child
            was started; None where the kernel does not say.
        lost: whether the fork server that bore it is gone, so that nobody knows its exit code.
    """
    exited_well = exit_code == 0 or overstayed
    if isinstance(last_word, Finished):
        if ended_by_us is not None and ended_by_us.reason is not Reason.CANCELLED:
            exited_well = True  # it had its result on disk before we ended it
        if exited_well or lost or exit_code == UNKNOWN_EXIT_CODE:
            return ExitDiagnosis(reason=Reason.DONE)
    if ended_by_us is not None:
        return ended_by_us
    if isinstance(last_word, Failed):
        return ExitDiagnosis(
            reason=last_word.reason,
            message=last_word.message,
            remedy=last_word.remedy,
            detail=last_word.traceback,
        )
    if lost:
        return ExitDiagnosis(
            reason=Reason.EVICTED,
            message="The fork server was ended from outside, and the child with it; the track is "
            "tried again.",
        )
    if exit_code < 0 and not overstayed:
        return _killed(signal_name(-exit_code), oom_kills)
    reason = Reason.NO_RESULT if exited_well else Reason.CRASHED
    if overstayed:
        message = "The child stopped talking to the supervisor and did not exit."
    elif exit_code == 0:
        message = "The child ended as if all were well, but without a result."
    else:
        message = f"The child ended with exit code {exit_code} and no explanation."
    return ExitDiagnosis(reason=reason, message=message, remedy=_LOOK_CLOSER)


def signal_name(number: int) -> str:
    """Give `SIGSEGV` for 11; `signal 99` for one that has no name here."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def exit_name(exit_code: int) -> str:
    """Give `exit code 7`, or `SIGSEGV` for -11."""
    return f"exit code {exit_code}" if exit_code >= 0 else signal_name(-exit_code)


def _killed(name: str, oom_kills: int | None) -> ExitDiagnosis:
    if name != "SIGKILL":
        message = f"The child was ended by {name}."
        return ExitDiagnosis(reason=Reason.CRASHED, message=message, remedy=_LOOK_CLOSER)
    if oom_kills == 0:
        return ExitDiagnosis(
            reason=Reason.CRASHED,
            message="The child was ended by SIGKILL, neither by stemsplit nor by the kernel's "
            "out-of-memory killer.",
            remedy="Look for another program or person that ends processes, and run it again.",
        )
    certainty = "" if oom_kills else "probably "
    return ExitDiagnosis(
        reason=Reason.KILLED_BY_KERNEL,
        message=f"The child was ended by SIGKILL, {certainty}by the kernel, which ran out of "
        "memory.",
        remedy="Close other programs, or give stemsplit less with --max-ram or --jobs 1.",
    )

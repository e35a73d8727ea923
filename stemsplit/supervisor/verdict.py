"""Runs in the supervisor. How a child ended, judged from what it said and its exit code. Pure.

A child is believed only when its last word and its exit code agree: exit 0 without a result is a
failure, and so is a result followed by a crash.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from stemsplit.job import Reason
from stemsplit.messages import Failed, Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why a child ended, in words for a person; see `stemsplit.job.Outcome` for the fields."""

    reason: Reason
    message: str = ""
    remedy: str = ""
    detail: str = ""


def judge(
    last_word: Finished | Failed | None, exit_code: int, *, overstayed: bool = False, log: str = ""
) -> Verdict:
    """Judge a child that has ended.

    Args:
        last_word: its result or its own account of its failure, None if it sent neither.
        exit_code: 0 or more as it returned it, or minus the number of the signal that ended it.
        overstayed: whether the supervisor killed it because it had nothing more to say and did
            not exit. Its result counts all the same: the stems were on disk before it was sent.
        log: the last of what it printed.
    """
    if isinstance(last_word, Failed):
        return Verdict(
            reason=last_word.reason,
            message=last_word.message,
            remedy=last_word.remedy,
            detail=last_word.traceback,
        )
    if overstayed:
        if last_word is not None:
            return Verdict(reason=Reason.DONE)
        return Verdict(
            reason=Reason.NO_RESULT,
            message="The child stopped talking to the supervisor and did not exit.",
            remedy="Run again with --verbose to see what it printed, and report it.",
            detail=log,
        )
    if exit_code < 0:
        return Verdict(
            reason=Reason.CRASHED,
            message=f"The child was ended by {signal_name(-exit_code)}.",
            remedy=_after_signal(-exit_code),
            detail=log,
        )
    if exit_code > 0:
        return Verdict(
            reason=Reason.CRASHED,
            message=f"The child ended with exit code {exit_code} and no explanation.",
            remedy="Run again with --verbose to see what it printed.",
            detail=log,
        )
    if last_word is None:
        return Verdict(
            reason=Reason.NO_RESULT,
            message="The child ended as if all were well, but without a result.",
            remedy="Run again with --verbose to see what it printed, and report it.",
            detail=log,
        )
    return Verdict(reason=Reason.DONE)


def signal_name(number: int) -> str:
    """Give `SIGSEGV` for 11; `signal 99` for one that has no name here."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _after_signal(number: int) -> str:
    if signal_name(number) == "SIGKILL":
        return "Often the system ran out of memory: close other programs and run the command again."
    return "Run again with --verbose to see what it printed, and report it."

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
    exited_well = exit_code == 0 or overstayed
    if exited_well and last_word is not None:
        return Verdict(reason=Reason.DONE)
    message, remedy = _account(exit_code, overstayed=overstayed)
    reason = Reason.NO_RESULT if exited_well else Reason.CRASHED
    return Verdict(reason=reason, message=message, remedy=remedy, detail=log)


def signal_name(number: int) -> str:
    """Give `SIGSEGV` for 11; `signal 99` for one that has no name here."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _account(exit_code: int, *, overstayed: bool) -> tuple[str, str]:
    look_closer = "Run again with --verbose to see what it printed, and report it."
    if overstayed:
        return "The child stopped talking to the supervisor and did not exit.", look_closer
    if exit_code == 0:
        return "The child ended as if all were well, but without a result.", look_closer
    if exit_code > 0:
        return f"The child ended with exit code {exit_code} and no explanation.", look_closer
    name = signal_name(-exit_code)
    if name == "SIGKILL":
        look_closer = "Often the system ran out of memory: close other programs and run it again."
    return f"The child was ended by {name}.", look_closer

"""Runs in the supervisor. How a batch ended, for its caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.errors import ExitCode
from stemsplit.core.outcome import Reason

if TYPE_CHECKING:
    from stemsplit.core.job import Job
    from stemsplit.core.outcome import Outcome
    from stemsplit.library.scan import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """How a batch ended.

    Attributes:
        outcomes: of every track that was tried, in the order in which they ended, and of those
            that were refused.
        problems: inputs that led to no track.
        skipped: jobs that were done already.
        failed_earlier: jobs that have failed in an earlier run, and were left alone.
        not_started: jobs that were left out because the batch was stopped or drained, or because
            they would not have ended in time.
        late: those that would not have ended in time.
        put_off: jobs that were left for another batch because of a limit.
        unreadable: folders below an input that cannot be read; what is in them was left out.
        stopped: whether it was stopped, because all further tracks would have failed alike.
        drained: whether it was asked to start nothing more.
    """

    outcomes: tuple[Outcome, ...] = ()
    problems: tuple[Problem, ...] = ()
    skipped: tuple[Job, ...] = ()
    failed_earlier: tuple[Job, ...] = ()
    not_started: tuple[Job, ...] = ()
    late: tuple[Job, ...] = ()
    put_off: tuple[Job, ...] = ()
    unreadable: tuple[Problem, ...] = ()
    stopped: bool = False
    drained: bool = False

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The outcomes that are none."""
        return tuple(one for one in self.outcomes if one.reason is not Reason.DONE)

    @property
    def exit_code(self) -> ExitCode:
        """What the command returns.

        0 if all went well, 3 if some failed or a folder could not be read, 1 if all had to stop,
        130 if it was drained with work left, 10 if the time was up with work left. A limit that
        was reached changes nothing.
        """
        if self.stopped:
            return ExitCode.ERROR
        if self.drained and self.not_started:
            return ExitCode.INTERRUPTED
        if self.late:
            return ExitCode.TIME_IS_UP
        if self.failures or self.problems or self.failed_earlier or self.unreadable:
            return ExitCode.SOME_FAILED
        return ExitCode.DONE

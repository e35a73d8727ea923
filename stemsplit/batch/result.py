"""Runs in the supervisor. The result of a batch, for its caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.errors import ExitCode
from stemsplit.core.outcome import Reason

if TYPE_CHECKING:
    from stemsplit.core.job import Job
    from stemsplit.core.outcome import Outcome
    from stemsplit.library.tracks import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """The result of a batch.

    Attributes:
        outcomes: outcome of each track that was tried or refused, in the order in which they ended.
        problems: inputs that led to no track.
        skipped: jobs that were already done.
        failed_earlier: jobs that failed in an earlier run and were not retried.
        not_started: jobs that did not start because the batch was stopped or drained, or because
            they could not have finished in time.
        late: those of `not_started` that could not have finished in time.
        put_off: jobs that a limit left for another batch.
        unreadable: folders below an input that could not be read; their contents were ignored.
        stopped: whether the batch was stopped because all further tracks would have failed alike.
        drained: whether the batch was asked to start no more tracks.
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
        """The outcomes of tracks that failed or were refused."""
        return tuple(outcome for outcome in self.outcomes if outcome.reason is not Reason.DONE)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command.

        0 if all tracks are done, 3 if some failed or a folder could not be read, 1 if the batch was
        stopped, 130 if it was drained with tracks left, 10 if the deadline left tracks. Tracks left
        by a limit do not count.
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

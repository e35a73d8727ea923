"""Runs in the supervisor. Terminates all children when a pool stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.core.outcome import Reason
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.supervisor.attempt import RunningAttempt
    from stemsplit.supervisor.attempt_state import Timings

_MAX_INTERRUPTIONS = 5
"""Exceptions, such as further presses of Ctrl-C, after which the shutdown gives up."""


def terminate_all(
    running: list[RunningAttempt], clock: Callable[[], float], timings: Timings
) -> None:
    """Terminate every child and remove its files: SIGTERM, then SIGKILL.

    Args:
        running: the running attempts; empty afterwards.
        clock: monotonic seconds.
        timings: timeouts.

    Raises:
        BaseException: the last exception that interrupted it, such as a second Ctrl-C; raised
            after all children are terminated.
    """
    interruption: BaseException | None = None
    for round_number in range(_MAX_INTERRUPTIONS):
        try:
            if round_number == 0:
                _send_sigterm(running, clock, timings)
            while running:
                attempt = running[-1]
                if not attempt.is_closed:
                    attempt.process_handle.kill()
                    attempt.child.process.join(timings.close)
                    attempt.process_handle.kill_leftovers()
                    attempt.close()
                attempt.finalise(ExitDiagnosis(reason=Reason.CANCELLED))
                running.remove(attempt)
            break
        except BaseException as error:  # noqa: BLE001 - no exception may leave a child behind
            interruption = error
    if interruption is not None:
        raise interruption


def _send_sigterm(
    running: list[RunningAttempt], clock: Callable[[], float], timings: Timings
) -> None:
    """Send SIGTERM to all children, and wait for their exit."""
    unfinished = [attempt for attempt in running if not attempt.is_closed]
    for attempt in unfinished:
        attempt.process_handle.terminate()
    deadline = clock() + timings.terminate
    for attempt in unfinished:
        attempt.child.process.join(max(0.0, deadline - clock()))

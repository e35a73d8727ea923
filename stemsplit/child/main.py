"""Runs in the child. The whole life of one child process: one task, one answer, exit.

Turns every error into a message. How the child stands to the supervisor is
`stemsplit.child.process`, the work itself `stemsplit.child.job_runner`.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from stemsplit.child.engines.library_errors import prepare_environment
from stemsplit.child.job_runner import was_preloaded, work_on
from stemsplit.child.process import Watch, peak_rss_bytes, settle_in
from stemsplit.core.errors import StemsplitError
from stemsplit.core.messages import Failed, Hello, decode_task, send
from stemsplit.core.outcome import Reason

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def main(pipe: Connection, log_channel: Connection, packed_task: bytes) -> None:
    """Work on one track and report on `pipe`; exits with 1 if that failed."""
    task = decode_task(packed_task)
    prepare_environment()  # an engine of somebody's own may load these libraries too
    preloaded = was_preloaded(task.settings)
    settle_in(log_channel, nice=task.nice)
    watch = Watch(pipe)
    send(pipe, Hello(preloaded=preloaded))
    try:
        finished = work_on(pipe, watch, task)
    except Exception as error:  # noqa: BLE001 - every error becomes a message
        send(pipe, _failure(error))
        sys.exit(1)
    send(pipe, finished)


def _failure(error: Exception) -> Failed:
    story = "".join(traceback.format_exception(error))
    if isinstance(error, StemsplitError):
        return Failed(
            reason=Reason.of(error),
            message=error.message,
            remedy=error.remedy,
            traceback=story,
            peak_rss_bytes=peak_rss_bytes(),
        )
    if isinstance(error, MemoryError):
        return Failed(
            reason=Reason.OVER_RAM_CAP,
            message="The child could not get the memory that it asked the system for.",
            remedy="Close other programs, or choose a smaller model.",
            traceback=story,
            peak_rss_bytes=peak_rss_bytes(),
        )
    return Failed(
        reason=Reason.CRASHED,
        message=f"The child failed with {type(error).__name__}: {error}",
        remedy="Run again with --verbose to see where, and report it.",
        traceback=story,
        peak_rss_bytes=peak_rss_bytes(),
    )

"""Runs in the child. The child's program: sets up the process, runs the job, reports the result.

The set-up is in `stemsplit.child.process`, the job in `stemsplit.child.job_runner`.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from stemsplit.child.engines.library_environment import set_library_environment
from stemsplit.child.job_runner import run_job
from stemsplit.child.process import SupervisorListener, peak_rss_bytes, set_up_process
from stemsplit.core.child_entry import PRELOAD_DONE
from stemsplit.core.errors import StemsplitError
from stemsplit.core.messages import Failed, Hello, decode_task, send
from stemsplit.core.outcome import Reason

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def main(pipe: Connection, log_channel: Connection, packed_task: bytes) -> None:
    """Run one job; exit with code 1 if it fails.

    Args:
        pipe: connection for messages to and from the supervisor.
        log_channel: connection for log records.
        packed_task: an encoded `stemsplit.core.messages.Task`.
    """
    task = decode_task(packed_task)
    set_library_environment()  # here too, because a custom engine may import the libraries
    # Whether the fork server had imported what the job needs.
    preloaded = (task.settings.loader.partition(":")[0] or PRELOAD_DONE) in sys.modules
    set_up_process(log_channel, nice=task.nice)
    listener = SupervisorListener(pipe)
    send(pipe, Hello(preloaded=preloaded))
    try:
        finished = run_job(pipe, listener, task)
    except Exception as error:  # noqa: BLE001 - every error becomes a message
        send(pipe, _failure(error))
        sys.exit(1)
    send(pipe, finished)


def _failure(error: Exception) -> Failed:
    if isinstance(error, StemsplitError):
        reason, message, remedy = Reason.of(error), error.message, error.remedy
    elif isinstance(error, MemoryError):
        reason = Reason.OVER_RAM_CAP
        message = "The child could not allocate memory."
        remedy = "Close other programs, or use a smaller model."
    else:
        reason = Reason.CRASHED
        message = f"The child failed with {type(error).__name__}: {error}"
        remedy = "Run again with --verbose to see the traceback, and report it."
    return Failed(
        reason=reason,
        message=message,
        remedy=remedy,
        traceback="".join(traceback.format_exception(error)),
        peak_rss_bytes=peak_rss_bytes(),
    )

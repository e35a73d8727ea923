"""Runs in the supervisor. Answers the requests of shards to record the steps of a track.

What a shard sends becomes paths of this machine, so every path is checked.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from stemsplit.core.errors import StemsplitError, StoppedError
from stemsplit.core.messages import Finished
from stemsplit.core.text import quoted
from stemsplit.executors.ray_cluster import messages
from stemsplit.journal.job_records import stem_paths
from stemsplit.storage.publish import STAGING_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stemsplit.core.job import Job
    from stemsplit.executors.ray_cluster.shard_state import ShardState
    from stemsplit.journal.stem_records import Stem


def answer_request(
    request: messages.RecorderRequest, shard: ShardState, output: Path
) -> messages.Reply:
    """Pass a request on to the recorder of its track and return the reply.

    Args:
        request: the request.
        shard: the shard that sent it. A track that it no longer has is refused.
        output: folder for all stems.
    """
    will_be_completed = False
    try:
        track_task = shard.tracks.get(request.track)
        if track_task is None:
            raise StoppedError("The track was assigned to another node.")
        job, recorder = track_task.job, track_task.recorder
        match request:
            case messages.AttemptBegins(settings=settings, resources=resources, number=number):
                folder = output / os.fsdecode(_checked_staging_folder(request.staging_folder))
                recorder.begin_attempt(job, settings, resources, number, folder)
                shard.started.add(request.track)
            case messages.PublishBegins(pending=pending):
                _check_destinations(pending, job, output)
                result = Finished(
                    stems=request.stems,
                    audio_seconds=request.audio_seconds,
                    warnings=request.warnings,
                )
                shard.results[request.track] = result
                will_be_completed = recorder.begin_publishing(job, pending, result)
            case messages.PublishReverted():
                recorder.cancel_publishing(job)
    except StemsplitError as error:
        return messages.Reply(
            request_id=request.request_id,
            error=type(error).__name__,
            message=error.message,
            remedy=error.remedy,
        )
    return messages.Reply(request_id=request.request_id, will_be_completed=will_be_completed)


def _checked_staging_folder(path: bytes) -> bytes:
    """Return the normalised path of a staging folder, relative to the output folder.

    Raises:
        StoppedError: if it is outside the output folder or not a staging folder.
    """
    clean = os.path.normpath(path)
    if (
        os.path.isabs(path)  # noqa: PTH117 - bytes
        or clean.startswith(b"..")
        or not os.path.basename(clean).startswith(os.fsencode(STAGING_PREFIX))  # noqa: PTH119 - bytes
    ):
        raise StoppedError(f"{quoted(path)} is not a staging folder.")
    return clean


def _check_destinations(pending: Iterable[Stem], job: Job, output: Path) -> None:
    """Raise `StoppedError` unless all stems go to destinations of the job."""
    destinations = set(stem_paths(job, output).values())
    for stem in pending:
        if os.path.normpath(stem.path) not in destinations or "/" in stem.work_name:
            raise StoppedError(f"{quoted(stem.path)} is not a destination of this track.")

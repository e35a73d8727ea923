"""Runs in the supervisor. Records a shard's attempts by asking the machine with the journal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.executors.ray_cluster import messages
from stemsplit.executors.ray_cluster.shard_connection import ShardConnection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stemsplit.core.job import Job
    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Finished
    from stemsplit.core.settings import Settings
    from stemsplit.journal.stem_records import Stem


@dataclass(frozen=True, slots=True)
class RemoteRecorder:
    """A `stemsplit.executors.track_task.AttemptRecorder` that asks the supervisor of the batch.

    Attributes:
        connection: connection to the supervisor.
        track: number of the track.
        output: the output folder, as a path of this node.
    """

    connection: ShardConnection
    track: int
    output: bytes

    def begin_attempt(
        self, job: Job, settings: Settings, resources: Resources, number: int, staging_folder: Path
    ) -> None:
        """See `stemsplit.executors.track_task.AttemptRecorder`."""
        del job
        self.connection.request(
            messages.AttemptBegins(
                request_id=self.connection.next_request_id(),
                track=self.track,
                settings=settings,
                resources=resources,
                number=number,
                staging_folder=os.path.relpath(os.fsencode(staging_folder), self.output),
            )
        )

    def begin_publishing(self, job: Job, pending: Sequence[Stem], result: Finished) -> bool:
        """See `stemsplit.executors.track_task.AttemptRecorder`."""
        del job
        return self.connection.request(
            messages.PublishBegins(
                request_id=self.connection.next_request_id(),
                track=self.track,
                pending=tuple(pending),
                stems=result.stems,
                audio_seconds=result.audio_seconds,
                warnings=result.warnings,
            )
        )

    def cancel_publishing(self, job: Job) -> None:
        """See `stemsplit.executors.track_task.AttemptRecorder`."""
        del job
        request_id = self.connection.next_request_id()
        self.connection.request(messages.PublishReverted(request_id=request_id, track=self.track))

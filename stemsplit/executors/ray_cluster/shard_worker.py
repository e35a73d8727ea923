"""Runs in a process of its own. The supervisor of one shard, on a node of the cluster.

It runs the same supervised pool as on one machine, and knows nothing about Ray. It reads its task
and further messages from standard input, and writes messages to standard output
(`stemsplit.executors.ray_cluster.messages`).
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

from stemsplit.core.errors import StemsplitError
from stemsplit.core.text import quoted
from stemsplit.executors.base import ExecutionRequest
from stemsplit.executors.local import LocalPool
from stemsplit.executors.plan_local_pool import plan_pool, start_method_of, storage_modules
from stemsplit.executors.ray_cluster import messages
from stemsplit.executors.ray_cluster.handshake import installed_version, wait_until_visible
from stemsplit.executors.ray_cluster.remote_recorder import RemoteRecorder
from stemsplit.executors.ray_cluster.shard_connection import HeartbeatThread, ShardConnection
from stemsplit.executors.ray_cluster.shard_events import EventTranslator
from stemsplit.executors.start_gates import make_gate
from stemsplit.models.engines import resolved
from stemsplit.models.weight_forms import ensure_weights
from stemsplit.storage.urls import is_remote
from stemsplit.supervisor.pool_interface import TrackEnded

if TYPE_CHECKING:
    from stemsplit.supervisor.pool import Pool


def run(source: IO[bytes], sink: IO[bytes]) -> None:
    """Run a shard.

    Args:
        source: messages from the supervisor of the batch.
        sink: messages to the supervisor of the batch.
    """
    connection = ShardConnection(source, sink)
    heartbeat = HeartbeatThread(connection)
    task = connection.read_task()
    if task is None:
        return
    translator = EventTranslator(task)
    try:
        pool = _run_pool(task, connection, heartbeat, translator)
    except StemsplitError as error:
        connection.send(messages.ShardRefused(message=error.message, remedy=error.remedy))
        return
    rejected = {translator.track_of(track_task).track for track_task in pool.rejected()}
    unstarted = [translator.track_of(track_task).track for track_task in pool.unstarted()]
    connection.send(
        messages.ShardClosed(
            unstarted=tuple(track for track in unstarted if track not in rejected),
            rejected=tuple(sorted(rejected)),
        )
    )


def _run_pool(
    task: messages.ShardTask,
    connection: ShardConnection,
    heartbeat: HeartbeatThread,
    translator: EventTranslator,
) -> Pool:
    """Separate the tracks of a shard, and return the pool, which has ended.

    Raises:
        StemsplitError: if this node cannot run the shard.
    """
    _require_same_version(task)
    resolved(task.settings)  # raises an error if the engine is not installed
    _require_visible_sources(task)
    output = Path(os.fsdecode(task.output))
    request = ExecutionRequest(
        settings=task.settings,
        limits=task.limits,
        jobs=task.jobs,
        output=output,
        start_method=start_method_of(task.settings),
        deadline=task.deadline,
    )
    plan = plan_pool(
        task.settings, task.limits, jobs=task.jobs, tracks=None, preloaded=request.preloaded
    )
    gate = make_gate(
        request,
        plan.forecast,
        audio_seconds=lambda track_task: translator.track_of(track_task).likely_seconds,
        stem_bytes=lambda track_task: translator.track_of(track_task).stem_bytes,
    )
    local_pool = LocalPool(
        task.settings,
        plan,
        model_folder=ensure_weights(task.settings),
        start_method=request.start_method,
        gate=gate,
        storage=storage_modules([output, *(track.job.source for track in task.tracks)]),
    )
    pool = local_pool.pool

    def add(track: messages.AssignedTrack) -> None:
        translator.add(track)
        recorder = RemoteRecorder(connection, track.track, task.output)
        pool.add(local_pool.make_task(track.job, output, recorder, track.audio_seconds))

    with local_pool, contextlib.closing(pool.run()) as events:
        for track in task.tracks:
            add(track)
        connection.attach(pool, add)
        for event in events:
            heartbeat.record_iteration()
            for message in translator.translate(event):
                connection.send(message)
            if isinstance(event, TrackEnded) and event.outcome.reason.stops_batch:
                pool.drain()  # the supervisor of the batch decides about other shards
    return pool


def _require_same_version(task: messages.ShardTask) -> None:
    """Refuse a stemsplit that was installed after the handshake."""
    version = installed_version()
    if task.version != version:
        raise StemsplitError(
            f"It has stemsplit {version}, but the batch was started with {task.version}.",
            "Install the same version on every node.",
        )


def _require_visible_sources(task: messages.ShardTask) -> None:
    """Refuse a node that does not see the folder of the tracks, instead of failing each track."""
    sources = [track.job.source for track in task.tracks if not is_remote(track.job.source)]
    if sources and not wait_until_visible(sources):
        raise StemsplitError(
            f"It cannot access {quoted(sources[0])}.",
            "Mount the folder there, or give its path on the nodes with --path-map.",
        )


def main() -> None:
    """Run a shard on standard input and output, and redirect everything that would print there."""
    # Unbuffered: a thread may be reading when the program ends.
    source = os.fdopen(os.dup(0), "rb", buffering=0)
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    run(source, sink)


if __name__ == "__main__":
    main()

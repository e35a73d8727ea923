"""Runs in the supervisor. Runs a batch on the nodes of a Ray cluster."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.errors import ClusterError
from stemsplit.core.text import counted, mebibytes
from stemsplit.core.units import Amount
from stemsplit.executors.plan_local_pool import workload_of
from stemsplit.executors.ray_cluster import messages
from stemsplit.executors.ray_cluster.faults import no_usable_node
from stemsplit.executors.ray_cluster.handshake import installed_version
from stemsplit.executors.ray_cluster.path_map import PathMap
from stemsplit.executors.ray_cluster.pool import ClusterPool
from stemsplit.executors.ray_cluster.remote_track_task import RemoteTrackTask
from stemsplit.executors.ray_cluster.sharding import ShardSize, choose_shard_size
from stemsplit.storage.urls import is_remote
from stemsplit.storage.write_errors import write_error
from stemsplit.supervisor import host_resources
from stemsplit.supervisor.budget import Budget, Concurrency
from stemsplit.supervisor.pool_plan import PoolPlan
from stemsplit.supervisor.prediction import Forecast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Self

    from stemsplit.core.job import Job
    from stemsplit.executors.base import ExecutionRequest
    from stemsplit.executors.ray_cluster.sharding import Node
    from stemsplit.executors.track_task import AttemptRecorder
    from stemsplit.supervisor.pool_interface import Gate

_SENTINEL_PREFIX = ".stemsplit-sign-"
"""Prefix of the sentinel: a file by which nodes recognise the output folder."""

_POLL_SECONDS = 0.5
"""Maximum time of one wait for handshakes."""

_HANDSHAKE_SECONDS = 60.0
"""Time after which the batch starts without the nodes that have not completed their handshake."""

_MIN_PROGRESS_INTERVAL = 0.5
"""Minimum time between two progress messages of a track, in seconds."""

_PROGRESS_RATE = 2000
"""Maximum number of progress messages per second from all nodes together."""


def isolate_local_cluster() -> None:
    """Restrict a cluster that this process starts to this machine.

    It listens on the loopback interface, accepts no tasks from others, and sends no statistics.
    Variables that are already set are kept. The new ones stay set, because Ray reads them once per
    process, on import, and passes them on to all processes that it starts.
    """
    if "ray" in sys.modules:  # its environment is already read
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Despite its name, this makes Ray use the loopback address as the address of this machine on
    # every system (get_node_ip_address in ray/_private/services.py).
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


class ClusterExecutor:
    """Runs a batch on the nodes of a cluster; see `stemsplit.executors.base.Executor`.

    Args:
        request: the batch.
        model_folder: the verified weights; None for a conversion.
        likely_seconds: length of each track's audio, estimated where it is unknown, by source.
        stem_bytes: predicted size of each track's stems, by source.
        longest_seconds: length of the longest track where memory grows with it, else 0.
        recover_track: completes or removes the files that a lost node has left behind; returns
            whether all stems of the track are published.
        note: called with messages for the user.

    Attributes:
        plan: plan for all nodes together.

    Raises:
        ClusterError: if the cluster cannot be joined, or no node has room for a shard.
        UnwritableError, DiskFullError: if the output folder cannot be written.
    """

    plan: PoolPlan

    def __init__(
        self,
        request: ExecutionRequest,
        *,
        model_folder: Path | None,
        likely_seconds: Mapping[bytes, float],
        stem_bytes: Mapping[bytes, int],
        longest_seconds: float,
        recover_track: Callable[[Job], bool],
        note: Callable[[str], None],
    ) -> None:
        """Prepare the environment of Ray; connect to nothing yet."""
        assert request.cluster is not None  # noqa: S101 - only made for a cluster
        self._request = request
        self._likely_seconds = likely_seconds
        self._stem_bytes = stem_bytes
        self._longest_seconds = longest_seconds
        self._recover_track = recover_track
        self._note = note
        self._path_map = PathMap.parse(request.path_map)
        if request.cluster == "local":
            isolate_local_cluster()
        # Imports Ray, which reads the environment.
        from stemsplit.executors.ray_cluster.client import RayClient

        self._version = installed_version()
        self._sentinel: Path | None = None
        sentinel_on_nodes = b""
        if not is_remote(request.output):
            self._sentinel = request.output / f"{_SENTINEL_PREFIX}{uuid.uuid4().hex}"
            sentinel_on_nodes = self._path_map.on_nodes(os.fsencode(self._sentinel))
        self._client = RayClient(
            request.cluster,
            cpus=host_resources.processors(),
            model_folder=model_folder,
            version=self._version,
            sentinel=sentinel_on_nodes,
            note=note,
        )
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Join the cluster, and make the plan."""
        with contextlib.ExitStack() as stack:
            if self._sentinel is not None:
                stack.enter_context(_sentinel_file(self._sentinel))
            stack.enter_context(self._client)
            self._make_plan()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the cluster."""
        self._stack.close()

    def _make_plan(self) -> None:
        request, settings = self._request, self._request.settings
        nodes = self._wait_for_handshakes()
        # The start method of a node hardly matters for the memory to reserve.
        forecast = Forecast(workload_of(settings), preloaded=True)
        choose = partial(
            choose_shard_size,
            need=partial(forecast.footprint, audio_seconds=self._longest_seconds),
            jobs=1 if settings.mwf else request.jobs,
            threads=settings.threads,
        )
        limit, per_file = request.limits.max_ram, request.limits.max_ram_per_file
        shard_size = choose(nodes, max_ram=None if limit is None else limit.of)
        if shard_size is None:
            raise _no_room(choose([], max_ram=None))
        self._shard_size = shard_size
        slots = max(1, shard_size.slots(nodes))
        workers = slots * shard_size.jobs
        self._progress_interval = max(_MIN_PROGRESS_INTERVAL, workers / _PROGRESS_RATE)
        self.plan = PoolPlan(
            concurrency=Concurrency(workers=workers, resources=shard_size.resources),
            budget=Budget(
                total_bytes=slots * shard_size.memory_bytes,
                per_file_bytes=None if per_file is None else per_file.of(shard_size.memory_bytes),
                min_free_bytes=0,
            ),
            limits=request.limits,
            forecast=forecast,
        )
        if nodes:  # otherwise the cluster may be growing; the pool informs the user if it waits
            self._note(
                f"{counted(len(nodes), 'node')} of a cluster: {counted(slots, 'shard')} at a time, "
                f"{counted(shard_size.jobs, 'file')} at a time in each"
            )

    def _wait_for_handshakes(self) -> list[Node]:
        """Return the usable nodes, without those that are slow to answer.

        Raises:
            ClusterError: if all nodes are excluded.
        """
        deadline = time.monotonic() + _HANDSHAKE_SECONDS
        nodes = self._client.nodes(_POLL_SECONDS)
        while self._client.has_pending_nodes() and time.monotonic() < deadline:
            nodes = self._client.nodes(_POLL_SECONDS)
        excluded = self._client.excluded
        if not nodes and excluded:
            raise no_usable_node(excluded)
        return nodes

    def open_pool(self, gate: Gate) -> ClusterExecutorPool:
        """See `stemsplit.executors.base.Executor.open_pool`."""
        settings = self._request.settings
        pool = ClusterPool(
            self._client,
            self._shard_size,
            model_name=settings.model if settings.separates else "",
            output=self._request.output,
            builder=self,
            recover_track=self._recover_track,
            gate=gate,
        )
        return ClusterExecutorPool(pool, self._likely_seconds)

    def shard_task(self, track_tasks: list[RemoteTrackTask]) -> messages.ShardTask:
        """See `stemsplit.executors.ray_cluster.shard_scheduler.TaskBuilder`."""
        request, shard_size = self._request, self._shard_size
        max_ram = Amount(size_bytes=shard_size.memory_bytes)
        return messages.ShardTask(
            version=self._version,
            settings=msgspec.structs.replace(
                request.settings, threads=shard_size.resources.threads
            ),
            limits=msgspec.structs.replace(request.limits, max_ram=max_ram),
            jobs=shard_size.jobs,
            output=self._path_map.on_nodes(os.fsencode(request.output)),
            deadline=request.deadline,
            progress_interval=self._progress_interval,
            tracks=self.assigned_tracks(track_tasks),
        )

    def assigned_tracks(
        self, track_tasks: list[RemoteTrackTask]
    ) -> tuple[messages.AssignedTrack, ...]:
        """See `stemsplit.executors.ray_cluster.shard_scheduler.TaskBuilder`."""
        return tuple(
            messages.AssignedTrack(
                track=track_task.number,
                job=self._path_map.job_on_nodes(track_task.job),
                audio_seconds=track_task.audio_seconds,
                likely_seconds=track_task.likely_seconds,
                stem_bytes=self._stem_bytes.get(track_task.job.source, 0),
            )
            for track_task in track_tasks
        )


@dataclass(frozen=True, slots=True)
class ClusterExecutorPool:
    """A pool on a cluster and its tasks; see `stemsplit.executors.base.ExecutorPool`."""

    pool: ClusterPool
    likely_seconds: Mapping[bytes, float]

    def __enter__(self) -> Self:
        """Do nothing: the executor has connected."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: the pool's generator stops the shards."""

    def make_task(
        self, job: Job, output: Path, recorder: AttemptRecorder, audio_seconds: float = 0.0
    ) -> RemoteTrackTask:
        """See `stemsplit.executors.base.ExecutorPool.make_task`."""
        del output  # known to the pool
        return RemoteTrackTask(
            job=job,
            audio_seconds=audio_seconds,
            likely_seconds=self.likely_seconds[job.source],
            recorder=recorder,
        )


@contextlib.contextmanager
def _sentinel_file(sentinel: Path) -> Iterator[None]:
    """Create a file by which nodes recognise the output folder.

    It is in the output folder itself: the state folder may be on a disk of this machine.
    """
    try:
        for old in sentinel.parent.glob(f"{_SENTINEL_PREFIX}*"):  # of a run that was killed
            old.unlink(missing_ok=True)
        sentinel.touch()
    except OSError as error:
        raise write_error(sentinel.parent, error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            sentinel.unlink()


def _no_room(smallest: ShardSize | None) -> ClusterError:
    """Return the error of a cluster without room for a shard of the smallest size, if known."""
    need = ""
    if smallest is not None:
        processors, memory = counted(smallest.cpus, "processor"), mebibytes(smallest.memory_bytes)
        need = f" It needs {processors} and {memory} of memory."
    return ClusterError(
        f"No node of the cluster has room for a shard.{need}",
        "Use fewer --jobs, or give the nodes more with `ray start --memory`; `ray status` shows "
        "what they have.",
    )

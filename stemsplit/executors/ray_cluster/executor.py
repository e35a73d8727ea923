"""Runs in the supervisor. A cluster as the place where a batch is done."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.errors import ClusterError
from stemsplit.core.text import counted, mebibytes
from stemsplit.core.units import Amount
from stemsplit.executors.pool_planning import workload_of
from stemsplit.executors.ray_cluster import messages
from stemsplit.executors.ray_cluster.handshake import installed_version
from stemsplit.executors.ray_cluster.local_cluster import be_private
from stemsplit.executors.ray_cluster.path_map import PathMap
from stemsplit.executors.ray_cluster.pool import ClusterPool, RemoteTrackTask, require_some
from stemsplit.executors.ray_cluster.sharding import ShardSize, choose_shard_size
from stemsplit.storage.publish import refused
from stemsplit.storage.remote import is_remote
from stemsplit.supervisor import host
from stemsplit.supervisor.budget import Budget, Concurrency
from stemsplit.supervisor.pool_plan import PoolPlan
from stemsplit.supervisor.prediction import Forecast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Self

    from stemsplit.core.job import Job
    from stemsplit.executors.base import ExecutionRequest
    from stemsplit.executors.ray_cluster.pool import LostTracks
    from stemsplit.executors.ray_cluster.sharding import Machine
    from stemsplit.executors.track_task import AttemptRecorder
    from stemsplit.supervisor.pool_interface import Gate

_LOOK_SECONDS = 0.5

_SIGN = ".stemsplit-sign-"

_ANSWER_SECONDS = 60.0
"""So long the nodes may take to answer before the batch begins without those that have not."""

_LEAST_PAUSE_SECONDS = 0.5
_WORDS_A_SECOND = 2000
"""So many words on how far they are all nodes together may say, whatever their number."""


class ClusterExecutor:
    """The nodes of a cluster. A context manager around the batch.

    Args:
        request: of the batch.
        model_folder: the verified weights; None where nothing is separated.
        likely_seconds: of audio of each track, by its source.
        stem_bytes: that the stems of each will take, likewise.
        longest_seconds: of audio, where memory depends on it.
        lost: brings in order what a lost node has left of a track.
        note: is told which nodes are not used, and why.

    Attributes:
        plan: for all nodes together.

    Raises:
        ClusterError: if there is no such cluster, or no node that a shard fits into.
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
        lost: LostTracks,
        note: Callable[[str], None],
    ) -> None:
        """Connect to nothing yet."""
        assert request.cluster is not None  # noqa: S101 - why this is made
        self._request = request
        self._likely_seconds = likely_seconds
        self._stem_bytes = stem_bytes
        self._lost = lost
        self._note = note
        self._map = PathMap.parse(request.path_map)
        if request.cluster == "local":
            be_private()
        from stemsplit.executors.ray_cluster.client import (
            RayClient,  # here alone, and not before that
        )

        self._version = installed_version()
        is_shared = not is_remote(request.output)
        self._sign = request.output / f"{_SIGN}{uuid.uuid4().hex}" if is_shared else None
        self._client = RayClient(
            request.cluster,
            cpus=host.processors(),
            model_folder=model_folder,
            version=self._version,
            sign=b"" if self._sign is None else self._map.there(os.fsencode(self._sign)),
            note=note,
        )
        self._longest_seconds = longest_seconds
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Join the cluster, and weigh its nodes."""
        with contextlib.ExitStack() as stack:
            if self._sign is not None:
                stack.enter_context(_shown(self._sign))
            stack.enter_context(self._client)
            self._weigh()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave it."""
        self._stack.close()

    def _weigh(self) -> None:
        request, settings = self._request, self._request.settings
        machines = self._machines()
        # Which start method a node has matters little to what is asked of Ray.
        forecast = Forecast(workload_of(settings), preloaded=True)
        need = partial(forecast.footprint, audio_seconds=self._longest_seconds)
        jobs = 1 if settings.mwf else request.jobs
        limit = request.limits.max_ram
        choose = partial(choose_shard_size, need=need, jobs=jobs, threads=settings.threads)
        shard_size = choose(machines, max_ram=None if limit is None else limit.of)
        if shard_size is None:
            raise _no_room(choose([], max_ram=None))
        self._shard_size = shard_size
        slots = max(1, shard_size.slots(machines))
        self._pause = max(_LEAST_PAUSE_SECONDS, slots * shard_size.jobs / _WORDS_A_SECOND)
        per_file = request.limits.max_ram_per_file
        self.plan = PoolPlan(
            concurrency=Concurrency(
                workers=slots * shard_size.jobs, resources=shard_size.resources
            ),
            budget=Budget(
                total_bytes=slots * shard_size.memory_bytes,
                per_file_bytes=None if per_file is None else per_file.of(shard_size.memory_bytes),
                min_free_bytes=0,
            ),
            limits=request.limits,
            forecast=forecast,
        )
        if not machines:
            return  # it may be growing; the pool says if it waits
        self._note(
            f"{counted(len(machines), 'node')} of a cluster with room for "
            f"{counted(slots, 'shard')} at a time, "
            f"{counted(shard_size.jobs, 'file')} at once in each"
        )

    def _machines(self) -> list[Machine]:
        """Wait for what the nodes answer, those that are slow apart."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        machines = self._client.machines(_LOOK_SECONDS)
        while self._client.are_coming() and time.monotonic() < deadline:
            machines = self._client.machines(_LOOK_SECONDS)
        if not machines:
            require_some(self._client.unusable)
        return machines

    def executor_pool(self, gate: Gate) -> ClusterExecutorPool:
        """Give what works there."""
        settings = self._request.settings
        pool = ClusterPool(
            self._client,
            self._shard_size,
            model_name=settings.model if settings.separates else "",
            output=self._request.output,
            packer=self,
            lost=self._lost,
            gate=gate,
        )
        return ClusterExecutorPool(pool, self._likely_seconds)

    def shard(self, track_tasks: list[RemoteTrackTask]) -> messages.Shard:
        """See `stemsplit.executors.ray_cluster.pool.Packer`."""
        request, there = self._request, self._map
        memory = Amount(size_bytes=self._shard_size.memory_bytes)
        threads = self._shard_size.resources.threads
        return messages.Shard(
            version=self._version,
            settings=msgspec.structs.replace(request.settings, threads=threads),
            limits=msgspec.structs.replace(request.limits, max_ram=memory),
            jobs=self._shard_size.jobs,
            output=there.there(os.fsencode(request.output)),
            deadline=request.deadline,
            pause=self._pause,
            tracks=self.tracks(track_tasks),
        )

    def tracks(self, track_tasks: list[RemoteTrackTask]) -> tuple[messages.Assigned, ...]:
        """See `stemsplit.executors.ray_cluster.pool.Packer`."""
        return tuple(
            messages.Assigned(
                track=one.track,
                job=self._map.job_there(one.job),
                audio_seconds=one.audio_seconds,
                likely_seconds=one.likely_seconds,
                stem_bytes=self._stem_bytes.get(one.job.source, 0),
            )
            for one in track_tasks
        )


class ClusterExecutorPool:
    """A pool on a cluster, and what it works on; see `stemsplit.executors.base.ExecutorPool`."""

    def __init__(self, pool: ClusterPool, likely_seconds: Mapping[bytes, float]) -> None:
        """Hand nothing out yet."""
        self.pool = pool
        self._likely_seconds = likely_seconds

    def __enter__(self) -> Self:
        """Start nothing: the site has."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End nothing: the pool's generator does."""

    def track_task(
        self, job: Job, output: Path, recorder: AttemptRecorder, audio_seconds: float = 0.0
    ) -> RemoteTrackTask:
        """Make the work for a track."""
        del output  # the pool has it
        return RemoteTrackTask(
            job=job,
            audio_seconds=audio_seconds,
            likely_seconds=self._likely_seconds[job.source],
            recorder=recorder,
        )


@contextlib.contextmanager
def _shown(sign: Path) -> Iterator[None]:
    """Put up a file by which nodes recognise the output folder.

    In it, and not where its state is, which may be on a disk of this machine's own.
    """
    try:
        for old in sign.parent.glob(f"{_SIGN}*"):  # of a run that was killed
            old.unlink(missing_ok=True)
        sign.touch()
    except OSError as error:
        raise refused(sign.parent, error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            sign.unlink()


def _no_room(least: ShardSize | None) -> ClusterError:
    what = (
        ""
        if least is None
        else (f" It takes {counted(least.cpus, 'processor')} and {mebibytes(least.memory_bytes)}.")
    )
    return ClusterError(
        f"No node of the cluster has room for a shard.{what}",
        "Use fewer --jobs, or give nodes more by `ray start --memory`; `ray status` shows what "
        "they have.",
    )

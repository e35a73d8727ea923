"""Measure what limits a cluster, on one machine: journal, mailbox and memory of the command.

    python benchmarks/cluster_limits.py

Journal: tracks per second with three commits each, on the disk of the temporary folder (TMPDIR).
Mailbox: requests per second of local Ray tasks that wait for each answer, as shards do. Pool:
tracks per second, assigning a million tracks to simulated shards, without Ray. docs/cluster.md
calculates with these figures.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from common import environment, print_line

from stemsplit.core.job import Job
from stemsplit.core.limits import Limits, Resources
from stemsplit.core.outcome import Attempt, Outcome, Reason
from stemsplit.core.settings import Settings
from stemsplit.executors.ray_cluster import messages
from stemsplit.executors.ray_cluster.client_interface import ShardEnded, Submission
from stemsplit.executors.ray_cluster.executor import isolate_local_cluster
from stemsplit.executors.ray_cluster.pool import ClusterPool
from stemsplit.executors.ray_cluster.remote_track_task import RemoteTrackTask
from stemsplit.executors.ray_cluster.sharding import Node, ShardSize
from stemsplit.executors.track_task import UnrecordedAttempts
from stemsplit.journal.job_records import JobEntry, JobState, Provenance
from stemsplit.journal.stem_records import Stem
from stemsplit.journal.writer import Journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TRACKS = 300
_REQUESTS = 500
_MILLION = 1_000_000
_NODES = 1000


def journal() -> float:
    """Return the number of tracks that the journal records per second."""
    with tempfile.TemporaryDirectory() as name:
        output = Path(name)
        stems = ("vocals", "accompaniment")
        jobs = [
            Job.of(Path(f"/in/{n}.mp3"), {stem: output / f"{n}" / f"{stem}.wav" for stem in stems})
            for n in range(_TRACKS)
        ]
        provenance = Provenance(source_bytes=1, source_modified_ns=1, settings="{}")
        with Journal(output / "journal", output) as database:
            database.begin_run(
                Settings(),
                [
                    JobEntry(
                        job=job, wanted=provenance, predicted_seconds=1, state=JobState.WAITING
                    )
                    for job in jobs
                ],
                version="1",
            )
            began = time.monotonic()
            for job in jobs:
                database.begin_attempt(
                    job,
                    Settings(),
                    Resources(),
                    number=1,
                    staging_folder=output / "staging",
                    preloaded=True,
                )
                pending = [Stem(f"{s}.wav", b"%s.wav" % s.encode(), 1, 1) for s in stems]
                database.begin_publishing(job, pending, overwrite=True)
                attempt = Attempt(number=1, resources=Resources(), reason=Reason.DONE)
                database.record_outcome(Outcome(job=job, reason=Reason.DONE, attempts=(attempt,)))
            return _TRACKS / (time.monotonic() - began)


def mailbox(clients: int) -> float:
    """Return the number of requests per second that `clients` Ray tasks get answered."""
    isolate_local_cluster()
    import ray

    from stemsplit.executors.ray_cluster.mailbox import Mailbox

    ray.init(address="local", num_cpus=clients, include_dashboard=False, log_to_driver=False)
    try:
        actor: Any = ray.remote(Mailbox).options(num_cpus=0, max_concurrency=1000).remote()

        def send_requests(actor: Any, number: int) -> None:  # noqa: ANN401 - a handle has no type
            for _ in range(_REQUESTS):
                actor.post.remote(number, b"?" * 200)
                ray.get(actor.fetch.remote(number))

        task = ray.remote(send_requests)
        running = [task.remote(actor, number) for number in range(1, clients + 1)]
        answered, began = 0, 0.0
        while answered < clients * _REQUESTS:
            received = ray.get(actor.receive.remote(1.0))
            began = began or (time.monotonic() if received else 0.0)
            answered += len(received)
            actor.send.remote([(number, b"!" * 50) for number, _ in received])
        ray.get(running)
        return answered / (time.monotonic() - began)
    finally:
        ray.shutdown()


class _SimulatedCluster:
    """A client with a thousand simulated nodes, whose shards finish each track immediately."""

    def __init__(self) -> None:
        self.excluded: dict[str, str] = {}
        self._pending: list[tuple[int, bytes | ShardEnded]] = []
        self._nodes = [
            Node(node_id=f"{n}", name=f"{n}", cpus=8, memory_bytes=2**33) for n in range(_NODES)
        ]

    def nodes(self) -> list[Node]:
        return self._nodes

    def has_pending_nodes(self) -> bool:
        return False

    def exclude(self, node_id: str, why: str, name: str) -> None:
        raise AssertionError(node_id, why, name)

    def submit(self, submission: Submission) -> None:
        started = messages.ShardStarted(node_id=f"{submission.number % _NODES}")
        self._pending.append((submission.number, messages.encode(started)))

    def wait(self, seconds: float) -> Iterable[tuple[int, bytes | ShardEnded]]:
        del seconds
        pending, self._pending = self._pending, []
        return pending

    def send(self, frames: list[tuple[int, bytes]]) -> None:
        for number, data in frames:
            message = messages.decode_supervisor_message(data)
            if isinstance(message, messages.Close):
                self._pending.append((number, ShardEnded()))
            elif isinstance(message, messages.ShardTask | messages.MoreTracks):
                for assigned in message.tracks:
                    done = Outcome(job=assigned.job, reason=Reason.DONE)
                    ended = messages.TrackEnded(track=assigned.track, outcome=done)
                    self._pending.append((number, messages.encode(ended)))
                self._pending.append((number, messages.encode(messages.WantsWork(tracks=8))))

    def cancel(self, number: int) -> None:
        self._pending.append((number, ShardEnded(fault="cancelled")))

    def shard_task(self, track_tasks: list[RemoteTrackTask]) -> messages.ShardTask:
        return messages.ShardTask(
            version="1",
            settings=Settings(),
            limits=Limits(),
            jobs=8,
            output=b"/out",
            deadline=None,
            progress_interval=4,
            tracks=self.assigned_tracks(track_tasks),
        )

    def assigned_tracks(
        self, track_tasks: list[RemoteTrackTask]
    ) -> tuple[messages.AssignedTrack, ...]:
        return tuple(
            messages.AssignedTrack(
                track=track_task.number, job=track_task.job, audio_seconds=240, likely_seconds=240
            )
            for track_task in track_tasks
        )


def pool() -> tuple[float, float]:
    """Return the number of tracks that the pool assigns per second, and its bytes per track."""
    client, recorder = _SimulatedCluster(), UnrecordedAttempts(overwrite=True)
    before = psutil.Process().memory_info().rss
    cluster_pool = ClusterPool(
        client,
        ShardSize(jobs=8, resources=Resources(), memory_bytes=2**32),
        model_name="2stems",
        output=Path("/out"),
        builder=client,
        recover_track=lambda _job: False,
    )
    for job in _jobs():
        cluster_pool.add(
            RemoteTrackTask(job=job, audio_seconds=240, likely_seconds=240, recorder=recorder)
        )
    size = (psutil.Process().memory_info().rss - before) / _MILLION
    began = time.monotonic()
    ended = sum(type(event).__name__ == "TrackEnded" for event in cluster_pool.run())
    if ended != _MILLION:
        raise RuntimeError(f"{ended:,} tracks ended")
    return _MILLION / (time.monotonic() - began), size


def _jobs() -> Iterator[Job]:
    for number in range(_MILLION):
        folder = b"/out/album %d/song %d" % (number // 12, number)
        yield Job(
            source=b"/music/album %d/song %d.flac" % (number // 12, number),
            destination=folder,
            stems=("vocals", "accompaniment"),
            files=(b"vocals.wav", b"accompaniment.wav"),
            anchor=b"vocals.wav",
        )


def main() -> None:
    """Print the table."""
    print_line(f"{environment()}\n")
    print_line("| measurement | result |")
    print_line("|---|---|")
    folder = tempfile.gettempdir()
    rate = journal()
    print_line(f"| journal, 3 commits per track, in {folder} | {rate:,.0f} tracks per second |")
    for clients in (1, 4, 16):
        rate = mailbox(clients)
        print_line(f"| mailbox, clients: {clients} | {rate:,.0f} requests per second |")
    rate, size = pool()
    print_line(f"| pool, 1,000,000 tracks on 1,000 nodes | {rate:,.0f} tracks per second |")
    print_line(f"| memory of the command | {size:,.0f} bytes per track |")
    print_line(f"| processors | {os.cpu_count()} |")


if __name__ == "__main__":
    main()

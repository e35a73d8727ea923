"""What limits a cluster, measured on one machine: journal, desk, memory of the command.

    python benchmarks/cluster_limits.py

The journal: tracks a second, with the three commits of each, on the disk of the temporary folder
(TMPDIR). The desk: questions a second that tasks of Ray's on this machine put and have answered, as
shards do before each step. The pool: handing out a million tracks to shards that are made up,
without Ray. docs/cluster.md reckons with these figures.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from common import environment, tell

from stemsplit.core.job import Job
from stemsplit.core.limits import Limits, Resources
from stemsplit.core.outcome import Attempt, Outcome, Reason
from stemsplit.core.settings import Settings
from stemsplit.executors.ray_cluster import messages
from stemsplit.executors.ray_cluster.client_messages import Ended, Submission
from stemsplit.executors.ray_cluster.local_cluster import be_private
from stemsplit.executors.ray_cluster.pool import ClusterPool, RemoteTrackTask
from stemsplit.executors.ray_cluster.sharding import Machine, ShardSize
from stemsplit.executors.track_task import UnrecordedAttempts
from stemsplit.journal.records import Entry, JobState, Stem, Wanted
from stemsplit.journal.writer import Journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TRACKS = 300
_QUESTIONS = 500
_MILLION = 1_000_000
_NODES = 1000


def journal() -> float:
    """Give the tracks a second that the journal takes in."""
    with tempfile.TemporaryDirectory() as name:
        output = Path(name)
        stems = ("vocals", "accompaniment")
        jobs = [
            Job.of(Path(f"/in/{n}.mp3"), {stem: output / f"{n}" / f"{stem}.wav" for stem in stems})
            for n in range(_TRACKS)
        ]
        wanted = Wanted(source_bytes=1, source_modified_ns=1, settings="{}")
        with Journal(output / "journal", output) as kept:
            kept.begin_run(
                Settings(),
                [
                    Entry(job=job, wanted=wanted, predicted_seconds=1, state=JobState.WAITING)
                    for job in jobs
                ],
                version="1",
            )
            began = time.monotonic()
            for job in jobs:
                kept.attempt_begins(
                    job,
                    Settings(),
                    Resources(),
                    number=1,
                    staging_folder=output / "w",
                    preloaded=True,
                )
                coming = [Stem(f"{s}.wav", b"%s.wav" % s.encode(), 1, 1) for s in stems]
                kept.publishing(job, coming, overwrite=True)
                attempt = Attempt(number=1, resources=Resources(), reason=Reason.DONE)
                kept.settled(Outcome(job=job, reason=Reason.DONE, attempts=(attempt,)))
            return _TRACKS / (time.monotonic() - began)


def mailbox(askers: int) -> float:
    """Give the questions a second that so many tasks have answered."""
    be_private()
    import ray

    from stemsplit.executors.ray_cluster.mailbox import Mailbox

    ray.init(address="local", num_cpus=askers, include_dashboard=False, log_to_driver=False)
    try:
        actor: Any = ray.remote(Mailbox).options(num_cpus=0, max_concurrency=1000).remote()

        def ask(actor: Any, number: int) -> None:  # noqa: ANN401 - a handle has no type
            for _ in range(_QUESTIONS):
                actor.post.remote(number, b"?" * 200)
                ray.get(actor.orders.remote(number))

        task = ray.remote(ask)
        asking = [task.remote(actor, number) for number in range(1, askers + 1)]
        answered, began = 0, 0.0
        while answered < askers * _QUESTIONS:
            said = ray.get(actor.take.remote(1.0))
            began = began or (time.monotonic() if said else 0.0)
            answered += len(said)
            actor.order.remote([(number, b"!" * 50) for number, _ in said])
        ray.get(asking)
        return answered / (time.monotonic() - began)
    finally:
        ray.shutdown()


class _MadeUp:
    """A thousand nodes whose shards do each track at once, and a packer."""

    def __init__(self) -> None:
        self.unusable: dict[str, str] = {}
        self.coming: list[tuple[int, bytes | Ended]] = []
        self._machines = [
            Machine(node=f"{n}", name=f"{n}", cpus=8, memory_bytes=2**33) for n in range(_NODES)
        ]

    def machines(self) -> list[Machine]:
        return self._machines

    def are_coming(self) -> bool:
        return False

    def rule_out(self, node: str, why: str, name: str) -> None:
        raise AssertionError(node, why, name)

    def submit(self, submission: Submission) -> None:
        arrived = messages.Arrived(node=f"{submission.number % _NODES}")
        self.coming.append((submission.number, messages.encode(arrived)))

    def wait(self, seconds: float) -> Iterable[tuple[int, bytes | Ended]]:
        del seconds
        coming, self.coming = self.coming, []
        return coming

    def order(self, orders: list[tuple[int, bytes]]) -> None:
        for number, data in orders:
            order = messages.decode_order(data)
            if isinstance(order, messages.Close):
                self.coming.append((number, Ended()))
            elif isinstance(order, messages.Shard | messages.More):
                for one in order.tracks:
                    done = Outcome(job=one.job, reason=Reason.DONE)
                    settled = messages.TrackEnded(track=one.track, outcome=done)
                    self.coming.append((number, messages.encode(settled)))
                self.coming.append((number, messages.encode(messages.Hungry(tracks=8))))

    def end(self, number: int) -> None:
        self.coming.append((number, Ended(fault="cancelled")))

    def shard(self, works: list[RemoteTrackTask]) -> messages.Shard:
        return messages.Shard(
            version="1",
            settings=Settings(),
            limits=Limits(),
            jobs=8,
            output=b"/out",
            deadline=None,
            pause=4,
            tracks=self.tracks(works),
        )

    def tracks(self, works: list[RemoteTrackTask]) -> tuple[messages.Assigned, ...]:
        return tuple(
            messages.Assigned(track=one.track, job=one.job, audio_seconds=240, likely_seconds=240)
            for one in works
        )


def pool() -> tuple[float, float]:
    """Give the tracks a second that the pool hands out, and its bytes a track."""
    client, recorder = _MadeUp(), UnrecordedAttempts(overwrite=True)
    before = psutil.Process().memory_info().rss
    made = ClusterPool(
        client,
        ShardSize(jobs=8, resources=Resources(), memory_bytes=2**32),
        model_name="2stems",
        output=Path("/out"),
        packer=client,
        lost=lambda _job: False,
    )
    for job in _jobs():
        made.add(RemoteTrackTask(job=job, audio_seconds=240, likely_seconds=240, recorder=recorder))
    size = (psutil.Process().memory_info().rss - before) / _MILLION
    began = time.monotonic()
    settled = sum(type(event).__name__ == "Settled" for event in made.run())
    if settled != _MILLION:
        raise RuntimeError(f"{settled:,} tracks came back")
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
    tell(f"{environment()}\n")
    tell("| what | figure |")
    tell("|---|---|")
    place = tempfile.gettempdir()
    tell(f"| journal, three commits a track, in {place} | {journal():,.0f} tracks a second |")
    for askers in (1, 4, 16):
        tell(f"| desk, {askers} asking at once | {mailbox(askers):,.0f} questions a second |")
    rate, size = pool()
    tell(f"| pool, a million tracks on a thousand nodes | {rate:,.0f} tracks a second |")
    tell(f"| memory of the command | {size:,.0f} bytes a track |")
    tell(f"| processors | {os.cpu_count()} |")


if __name__ == "__main__":
    main()

"""The pool of a cluster with simulated nodes, for situations that are rare on real nodes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from stemsplit.core.errors import ClusterError, OutputExistsError
from stemsplit.core.job import Job
from stemsplit.core.limits import Limits, Resources
from stemsplit.core.outcome import Attempt, Outcome, Reason, TrackWarning, WarningKind
from stemsplit.core.settings import Settings
from stemsplit.executors.ray_cluster import messages
from stemsplit.executors.ray_cluster.client_interface import ShardEnded, Submission
from stemsplit.executors.ray_cluster.pool import ClusterPool
from stemsplit.executors.ray_cluster.remote_track_task import RemoteTrackTask
from stemsplit.executors.ray_cluster.sharding import Node, ShardSize
from stemsplit.journal.stem_records import Stem
from stemsplit.supervisor.pool_interface import GateDecision, Noted, TrackEnded, Withdrawn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from stemsplit.core.messages import Finished
    from stemsplit.supervisor.pool_interface import PoolEvent, TrackTask

OUT = Path("/out")
_decoder: msgspec.msgpack.Decoder[messages.SupervisorMessage] = msgspec.msgpack.Decoder(
    messages.SupervisorMessage
)


class Recorder:
    """A recorder that lists the steps of tracks, and forbids publishing on request."""

    def __init__(self) -> None:
        """Start empty."""
        self.steps: list[tuple[str, bytes]] = []
        self.forbidden = False

    def begin_attempt(
        self, job: Job, settings: Settings, resources: Resources, number: int, staging_folder: Path
    ) -> None:
        """See `stemsplit.executors.track_task.AttemptRecorder`."""
        del settings, resources, number
        assert staging_folder.parent == OUT
        self.steps.append(("begin attempt", job.source))

    def begin_publishing(self, job: Job, pending: Sequence[Stem], result: Finished) -> bool:
        """See above."""
        del pending, result
        if self.forbidden:
            raise OutputExistsError("The file exists.", "Move it away.")
        self.steps.append(("begin publishing", job.source))
        return True

    def cancel_publishing(self, job: Job) -> None:
        """See above."""
        self.steps.append(("cancel publishing", job.source))


WARNINGS = (TrackWarning(kind=WarningKind.DAMAGED, text="It is truncated."),)


@dataclass
class SimulatedCluster:
    """A pool and simulated shards, controlled by a test.

    Implements `ClusterClient` and `TaskBuilder`.
    """

    songs: int = 4
    slots: int = 1
    submitted: list[Submission] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    sent: list[tuple[int, messages.SupervisorMessage]] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)
    alive: list[Node] = field(default_factory=list)
    published: set[bytes] = field(default_factory=set)
    recovered: list[bytes] = field(default_factory=list)
    now: float = 0.0
    held_back: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Add the tracks to the pool."""
        self.recorder = Recorder()
        self.incoming: deque[tuple[int, bytes | ShardEnded]] = deque()
        if not self.alive:
            self.alive = [
                Node(node_id=f"n{i}", name=f"node {i}", cpus=1, memory_bytes=2**30)
                for i in range(self.slots)
            ]
        self.pool = ClusterPool(
            self,
            ShardSize(jobs=1, resources=Resources(), memory_bytes=2**29),
            model_name="2stems",
            output=OUT,
            builder=self,
            recover_track=self._recover,
            gate=self._gate,
            clock=lambda: self.now,
        )
        for number in range(self.songs):
            job = Job.of(Path(f"/in/{number}"), {"vocals": OUT / str(number) / "vocals.wav"})
            self.pool.add(
                RemoteTrackTask(
                    job=job, audio_seconds=100, likely_seconds=100, recorder=self.recorder
                )
            )
        self.events: list[PoolEvent] = []
        self.loop = self.pool.run()

    def _gate(
        self, track_task: TrackTask, _resources: Resources, _running: Collection[TrackTask]
    ) -> GateDecision:
        return GateDecision.WAIT if track_task.job.source in self.held_back else GateDecision.GO

    def _recover(self, job: Job) -> bool:
        self.recovered.append(job.source)
        return job.source in self.published

    # The client.
    def nodes(self) -> list[Node]:
        """See `stemsplit.executors.ray_cluster.client_interface.ClusterClient`."""
        return [node for node in self.alive if node.node_id not in self.excluded]

    def has_pending_nodes(self) -> bool:
        """See above."""
        return False

    def exclude(self, node_id: str, why: str, name: str) -> None:
        """See above."""
        del name
        self.excluded[node_id] = why

    def submit(self, submission: Submission) -> None:
        """See above."""
        self.submitted.append(submission)

    def wait(self, seconds: float) -> Iterable[tuple[int, bytes | ShardEnded]]:
        """See above."""
        self.now += seconds
        while self.incoming:
            yield self.incoming.popleft()

    def send(self, frames: list[tuple[int, bytes]]) -> None:
        """See above."""
        self.sent += [(number, _decoder.decode(data)) for number, data in frames]

    def cancel(self, number: int) -> None:
        """See above."""
        self.cancelled.append(number)

    # The task builder.
    def shard_task(self, track_tasks: list[RemoteTrackTask]) -> messages.ShardTask:
        """See `stemsplit.executors.ray_cluster.shard_scheduler.TaskBuilder`."""
        return messages.ShardTask(
            version="1",
            settings=Settings(),
            limits=Limits(),
            jobs=1,
            output=b"/out",
            deadline=None,
            progress_interval=1,
            tracks=self.assigned_tracks(track_tasks),
        )

    def assigned_tracks(
        self, track_tasks: list[RemoteTrackTask]
    ) -> tuple[messages.AssignedTrack, ...]:
        """See above."""
        return tuple(
            messages.AssignedTrack(
                track=task.number, job=task.job, audio_seconds=1, likely_seconds=1
            )
            for task in track_tasks
        )

    # The shards.
    def report(self, shard: int, *reported: messages.ShardMessage) -> None:
        """Send messages from a shard."""
        self.incoming += [(shard, messages.encode(message)) for message in reported]

    def iterate(self, count: int = 1) -> list[PoolEvent]:
        """Run iterations of the loop and return their events."""
        events: list[PoolEvent] = []
        for _ in range(count):
            for event in self.loop:
                events.append(event)
                if type(event).__name__ == "LoopIterated":
                    break
        self.events += events
        return events

    def assigned(self, shard: int) -> list[int]:
        """Return the tracks that were assigned to a shard."""
        return [
            track.track
            for number, message in self.sent
            if number == shard and isinstance(message, messages.ShardTask | messages.MoreTracks)
            for track in message.tracks
        ]

    def end_track(self, shard: int, track: int, reason: Reason = Reason.DONE) -> None:
        """Send the end of a track from a shard."""
        job = Job.of(Path("/node"), {"vocals": Path("/node/vocals.wav")})
        attempt = Attempt(number=1, resources=Resources(), reason=reason)
        outcome = Outcome(
            job=job, reason=reason, message="A message.", warnings=WARNINGS, attempts=(attempt,)
        )
        self.report(shard, messages.TrackEnded(track=track, outcome=outcome))

    def request_attempt(self, shard: int, track: int) -> None:
        """Send the request for an attempt from a shard."""
        self.report(
            shard,
            messages.AttemptBegins(
                request_id=track,
                track=track,
                settings=Settings(),
                resources=Resources(),
                number=1,
                staging_folder=b".stemsplit-1",
            ),
        )

    def request_publication(self, shard: int, track: int) -> None:
        """Send the request for a publication from a shard."""
        self.report(
            shard,
            messages.PublishBegins(
                request_id=100 + track,
                track=track,
                pending=(),
                stems=(),
                audio_seconds=100.0,
                warnings=WARNINGS,
            ),
        )

    def replies(self, shard: int) -> list[messages.Reply]:
        """Return the replies to a shard."""
        return [
            message
            for number, message in self.sent
            if number == shard and isinstance(message, messages.Reply)
        ]


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    """One node and four tracks."""
    cluster = SimulatedCluster()
    yield cluster
    cluster.loop.close()


def _outcomes(events: Iterable[PoolEvent]) -> dict[bytes, Reason]:
    return {
        event.outcome.job.source: event.outcome.reason
        for event in events
        if isinstance(event, TrackEnded)
    }


def _source(track: int) -> bytes:
    return b"/in/%d" % (track - 1)


def test_a_batch_from_its_first_to_its_last_track(cluster: SimulatedCluster) -> None:
    """A started shard gets tracks, asks permission for each step, and is closed at the end."""
    cluster.iterate()
    assert [submission.number for submission in cluster.submitted] == [1, 2], "one more than fits"
    assert not cluster.sent, "a shard without a node gets no tracks"
    cluster.report(1, messages.ShardStarted(node_id="n0"))
    cluster.iterate(2)
    assert cluster.assigned(1) == [1, 2, 3, 4]
    for track in range(1, 5):
        cluster.request_attempt(1, track)
        cluster.request_publication(1, track)
        cluster.end_track(1, track)
    cluster.report(1, messages.WantsWork(tracks=1))
    cluster.iterate(2)
    assert [reply.will_be_completed for reply in cluster.replies(1)] == [False, True] * 4
    assert cluster.recorder.steps[:2] == [
        ("begin attempt", b"/in/0"),
        ("begin publishing", b"/in/0"),
    ]
    assert cluster.sent[-1] == (1, messages.Close())
    assert 2 in cluster.cancelled, "the waiting shard is not needed any more"
    assert _outcomes(cluster.events) == {_source(track): Reason.DONE for track in range(1, 5)}
    done = [event.outcome for event in cluster.events if isinstance(event, TrackEnded)]
    assert done[0].job.paths["vocals"] == OUT / "0" / "vocals.wav", (
        "the paths are those of this machine"
    )
    assert done[0].attempts[0].node == "node 0"
    assert done[0].warnings == WARNINGS
    cluster.report(1, messages.ShardClosed(unstarted=(), rejected=()))
    cluster.incoming.append((1, ShardEnded()))
    assert not [event for event in cluster.iterate(2) if isinstance(event, TrackEnded)]
    assert next(cluster.loop, None) is None
    assert not cluster.pool.unstarted()


def test_a_lost_node_loses_only_started_tracks() -> None:
    """A started track is recovered and then retried before all others."""
    cluster = SimulatedCluster(slots=2)
    cluster.iterate()
    cluster.report(1, messages.ShardStarted(node_id="n0"))
    cluster.report(2, messages.ShardStarted(node_id="n1"))
    cluster.iterate(2)
    first, second = cluster.assigned(1), cluster.assigned(2)
    assert sorted(first + second) == [1, 2, 3, 4][: len(first + second)]
    cluster.request_attempt(1, first[0])
    cluster.iterate()
    cluster.incoming.append((1, ShardEnded(fault="the node died")))
    events = cluster.iterate(1)
    assert [event.track_task.job.source for event in events if isinstance(event, Withdrawn)] == [
        _source(first[0])
    ]
    assert cluster.recovered == [_source(first[0])], "but no track that was not started"
    assert "failed (the node died)" in next(
        event.text for event in events if isinstance(event, Noted)
    )
    # Later messages of the lost shard are ignored.
    before = len(cluster.recorder.steps)
    cluster.request_publication(1, first[0])
    cluster.end_track(1, first[0])
    events = cluster.iterate(2)
    assert not _outcomes(events)
    assert len(cluster.recorder.steps) == before
    third = cluster.submitted[-1].number
    cluster.report(third, messages.ShardStarted(node_id="n0"))
    cluster.iterate(2)
    assert cluster.assigned(third)[0] == first[0]
    cluster.loop.close()


def test_a_track_that_a_lost_node_has_published_is_done(cluster: SimulatedCluster) -> None:
    """Only its last message was lost."""
    cluster.published.add(_source(1))
    cluster.iterate()
    cluster.report(1, messages.ShardStarted(node_id="n0"))
    cluster.iterate(2)
    cluster.request_attempt(1, 1)
    cluster.request_publication(1, 1)
    cluster.iterate()
    cluster.incoming.append((1, ShardEnded(fault="lost")))
    events = cluster.iterate()
    assert _outcomes(events) == {_source(1): Reason.DONE}
    outcome = next(event.outcome for event in events if isinstance(event, TrackEnded))
    assert outcome.audio_seconds == 100.0
    assert outcome.warnings == WARNINGS


def test_a_track_that_is_lost_with_five_nodes_has_failed() -> None:
    """It may be the cause."""
    cluster = SimulatedCluster(songs=1, slots=5)
    for number in range(1, 6):
        cluster.iterate()
        shard = cluster.submitted[-1].number
        cluster.report(shard, messages.ShardStarted(node_id=f"n{number - 1}"))
        cluster.iterate(2)
        cluster.request_attempt(shard, 1)
        cluster.incoming.append((shard, ShardEnded(fault="lost")))
        cluster.iterate()
    assert _outcomes(cluster.events) == {_source(1): Reason.NODE_LOST}
    cluster.loop.close()


def test_a_node_that_refuses_a_shard_is_excluded() -> None:
    """Its tracks move to other nodes; without another node, the batch ends with an error."""
    cluster = SimulatedCluster(slots=2)
    cluster.iterate()
    cluster.report(
        1,
        messages.ShardStarted(node_id="n0"),
        messages.ShardRefused(message="No engine.", remedy="Get one."),
    )
    cluster.incoming.append((1, ShardEnded()))
    cluster.iterate(2)
    assert cluster.excluded == {"n0": "No engine. Get one."}
    assert cluster.submitted[-1].not_on == ("n0",)
    assert {2, 3} <= set(cluster.cancelled), "waiting shards that might have started there"
    last = cluster.submitted[-1].number
    refused = messages.ShardRefused(message="No engine.", remedy="Get one.")
    cluster.report(last, messages.ShardStarted(node_id="n1"), refused)
    cluster.incoming.append((last, ShardEnded()))
    with pytest.raises(ClusterError, match="No node of the cluster is usable: No engine"):
        cluster.iterate(3)


def test_a_broken_engine_excludes_its_node() -> None:
    """On the only node, the track fails instead."""
    cluster = SimulatedCluster(slots=2)
    cluster.iterate()
    cluster.report(1, messages.ShardStarted(node_id="n0"))
    cluster.iterate(2)
    cluster.request_attempt(1, 1)
    cluster.end_track(1, 1, Reason.ENGINE_UNAVAILABLE)
    assert not _outcomes(cluster.iterate(2))
    assert "n0" in cluster.excluded
    assert _source(1) in {task.job.source for task in cluster.pool.unstarted()}
    other = cluster.submitted[-1].number
    cluster.report(other, messages.ShardStarted(node_id="n1"))
    cluster.iterate(2)
    cluster.end_track(other, 1, Reason.ENGINE_UNAVAILABLE)
    assert _outcomes(cluster.iterate(2)) == {_source(1): Reason.ENGINE_UNAVAILABLE}
    cluster.loop.close()


def test_the_gate_holds_tracks_back(cluster: SimulatedCluster) -> None:
    """They are assigned when it opens."""
    cluster.held_back.add(_source(3))
    cluster.iterate()
    cluster.report(1, messages.ShardStarted(node_id="n0"))
    cluster.iterate(2)
    assert cluster.assigned(1) == [1, 2]
    cluster.end_track(1, 1)
    cluster.report(1, messages.WantsWork(tracks=1))
    cluster.iterate(3)
    assert cluster.assigned(1) == [1, 2]
    assert not any(isinstance(message, messages.Close) for _, message in cluster.sent)
    cluster.held_back.clear()
    cluster.iterate()
    assert cluster.assigned(1) == [1, 2, 3]


def test_a_silent_shard_is_lost(cluster: SimulatedCluster) -> None:
    """Its machine may hang, which Ray may not notice."""
    cluster.iterate()
    cluster.report(1, messages.ShardStarted(node_id="n0"))
    cluster.iterate(2)
    cluster.request_attempt(1, 1)
    cluster.iterate()
    cluster.iterate(500)
    cluster.report(1, messages.Heartbeat())
    cluster.iterate(2)
    assert 1 not in cluster.cancelled
    cluster.now += 400  # this machine was suspended, so the shard was not silent
    cluster.iterate(2)
    assert 1 not in cluster.cancelled
    cluster.iterate(700)
    assert 1 in cluster.cancelled
    assert cluster.recovered == [_source(1)]


def test_a_drain_lets_running_tracks_finish(cluster: SimulatedCluster) -> None:
    """Shards start no more tracks."""
    cluster.iterate()
    cluster.report(1, messages.ShardStarted(node_id="n0"))
    cluster.iterate(2)
    cluster.request_attempt(1, 1)
    cluster.iterate()
    cluster.pool.drain()
    cluster.iterate()
    assert (1, messages.Drain()) in cluster.sent
    cluster.end_track(1, 1)
    cluster.report(1, messages.ShardClosed(unstarted=(2, 3), rejected=(4,)))
    cluster.incoming.append((1, ShardEnded()))
    cluster.iterate(2)
    assert next(cluster.loop, None) is None
    assert _outcomes(cluster.events) == {_source(1): Reason.DONE}
    assert [task.job.source for task in cluster.pool.rejected()] == [_source(4)]
    assert {task.job.source for task in cluster.pool.unstarted()} == {
        _source(track) for track in (2, 3, 4)
    }


def test_a_refused_publication_is_reported_to_the_shard(cluster: SimulatedCluster) -> None:
    """The reply contains the class and the message of the recorder's error."""
    cluster.recorder.forbidden = True
    cluster.iterate()
    cluster.report(1, messages.ShardStarted(node_id="n0"))
    cluster.iterate(2)
    cluster.request_publication(1, 1)
    cluster.iterate()
    reply = cluster.replies(1)[-1]
    assert (reply.error, reply.message) == ("OutputExistsError", "The file exists.")


def test_a_batch_does_not_wait_forever_for_nodes() -> None:
    """A cluster without nodes may be growing, so the batch waits for half an hour."""
    cluster = SimulatedCluster(
        alive=[Node(node_id="n0", name="node 0", cpus=1, memory_bytes=2**30)]
    )
    cluster.alive.clear()
    events = cluster.iterate(70)
    assert any("waiting for a node" in event.text for event in events if isinstance(event, Noted))
    cluster.now += 2000
    with pytest.raises(ClusterError, match="The cluster has no nodes left"):
        cluster.iterate(3)


def test_a_node_whose_shards_keep_failing_is_excluded() -> None:
    """The limit is three shards that failed before they could report a reason."""
    cluster = SimulatedCluster(slots=2)
    for _ in range(3):
        cluster.iterate()
        shard = cluster.submitted[-1].number
        cluster.report(shard, messages.ShardStarted(node_id="n0"))
        cluster.iterate(2)
        assert "n0" not in cluster.excluded
        cluster.incoming.append((shard, ShardEnded(fault="exit code 1")))
        cluster.iterate()
    assert "keep failing (exit code 1)" in cluster.excluded["n0"]
    cluster.loop.close()


def test_shards_that_no_node_can_start_end_the_batch(cluster: SimulatedCluster) -> None:
    """An example is a node without stemsplit."""
    for number in (1, 2, 3):
        cluster.iterate(2)
        cluster.incoming.append((number, ShardEnded(fault="no module")))
    with pytest.raises(ClusterError, match="No node could start a shard"):
        cluster.iterate()


def test_a_node_gets_no_tracks_before_its_handshake(cluster: SimulatedCluster) -> None:
    """It may not see the output folder, but Ray may start a shard there."""
    cluster.iterate()
    cluster.report(1, messages.ShardStarted(node_id="new"))
    cluster.iterate(2)
    assert not cluster.assigned(1)
    cluster.alive.append(Node(node_id="new", name="new", cpus=1, memory_bytes=2**30))
    cluster.iterate()
    assert cluster.assigned(1)


def test_an_invalid_message_ends_its_shard(cluster: SimulatedCluster) -> None:
    """The batch continues."""
    cluster.iterate()
    cluster.report(1, messages.ShardStarted(node_id="n0"))
    cluster.iterate(2)
    cluster.request_attempt(1, 1)
    cluster.incoming.append((1, b"\xc1"))
    events = cluster.iterate(2)
    assert 1 in cluster.cancelled
    assert any("invalid message" in event.text for event in events if isinstance(event, Noted))


@pytest.mark.parametrize(
    "staging_folder", [b"../.stemsplit-x", b"/tmp/.stemsplit-x", b"music", b"a/.stemsplit-x/.."]
)
def test_a_node_cannot_choose_other_folders(
    cluster: SimulatedCluster, staging_folder: bytes
) -> None:
    """Its paths become paths of this machine."""
    cluster.iterate()
    cluster.report(1, messages.ShardStarted(node_id="n0"))
    cluster.iterate(2)
    begins = messages.AttemptBegins(
        request_id=1,
        track=1,
        settings=Settings(),
        resources=Resources(),
        number=1,
        staging_folder=staging_folder,
    )
    cluster.report(1, begins)
    stem = Stem("vocals.wav", b"../../home/me/.ssh/authorized_keys", 1, 1)
    cluster.report(
        1,
        messages.PublishBegins(request_id=2, track=1, pending=(stem,), stems=(), audio_seconds=1.0),
    )
    cluster.iterate()
    assert [reply.error for reply in cluster.replies(1)] == ["StoppedError", "StoppedError"]
    assert not cluster.recorder.steps

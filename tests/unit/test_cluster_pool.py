"""The pool of a cluster against a fleet that is made up: what real nodes reach only with luck."""

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
from stemsplit.executors.ray_cluster.client_messages import Ended, Submission
from stemsplit.executors.ray_cluster.pool import ClusterPool, RemoteTrackTask
from stemsplit.executors.ray_cluster.sharding import Machine, ShardSize
from stemsplit.journal.records import Stem
from stemsplit.supervisor.pool_interface import GateDecision, Noted, TrackEnded, Withdrawn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from stemsplit.core.messages import Finished
    from stemsplit.supervisor.pool_interface import PoolEvent, TrackTask

OUT = Path("/out")
_order: msgspec.msgpack.Decoder[messages.Order] = msgspec.msgpack.Decoder(messages.Order)


class AttemptRecorder:
    """Writes down what it is told; forbids what it is told to."""

    def __init__(self) -> None:
        """Know nothing."""
        self.told: list[tuple[str, bytes]] = []
        self.forbidden = False

    def attempt_begins(
        self, job: Job, settings: Settings, resources: Resources, number: int, track_task: Path
    ) -> None:
        """See `stemsplit.executors.track_task.AttemptRecorder`."""
        del settings, resources, number
        assert track_task.parent == OUT
        self.told.append(("begins", job.source))

    def publishing(self, job: Job, coming: Sequence[Stem], result: Finished) -> bool:
        """Likewise."""
        del coming, result
        if self.forbidden:
            raise OutputExistsError("Somebody was quicker.", "Look.")
        self.told.append(("publishing", job.source))
        return True

    def taken_back(self, job: Job) -> None:
        """Likewise."""
        self.told.append(("taken back", job.source))


WARNINGS = (TrackWarning(kind=WarningKind.DAMAGED, text="It is cut."),)


@dataclass
class World:
    """A fleet whose shards do what a test says, and the pool."""

    songs: int = 4
    slots: int = 1
    submitted: list[Submission] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    orders: list[tuple[int, messages.Order]] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)
    nodes: list[Machine] = field(default_factory=list)
    shown: set[bytes] = field(default_factory=set)
    lost: list[bytes] = field(default_factory=list)
    now: float = 0.0
    closed: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Put the tracks in line."""
        self.recorder = AttemptRecorder()
        self.coming: deque[tuple[int, bytes | Ended]] = deque()
        if not self.nodes:
            self.nodes = [
                Machine(node=f"n{i}", name=f"node {i}", cpus=1, memory_bytes=2**30)
                for i in range(self.slots)
            ]
        self.pool = ClusterPool(
            self,
            ShardSize(jobs=1, resources=Resources(), memory_bytes=2**29),
            model_name="2stems",
            output=OUT,
            packer=self,
            lost=self._lost,
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
        return GateDecision.WAIT if track_task.job.source in self.closed else GateDecision.GO

    def _lost(self, job: Job) -> bool:
        self.lost.append(job.source)
        return job.source in self.shown

    # The fleet.
    def machines(self) -> list[Machine]:
        """See `stemsplit.executors.ray_cluster.pool.ClusterClient`."""
        return [one for one in self.nodes if one.node not in self.unusable]

    def are_coming(self) -> bool:
        """Likewise."""
        return False

    def rule_out(self, node: str, why: str, name: str) -> None:
        """Likewise."""
        del name
        self.unusable[node] = why

    def submit(self, submission: Submission) -> None:
        """Likewise."""
        self.submitted.append(submission)

    def wait(self, seconds: float) -> Iterable[tuple[int, bytes | Ended]]:
        """Likewise."""
        self.now += seconds
        while self.coming:
            yield self.coming.popleft()

    def order(self, orders: list[tuple[int, bytes]]) -> None:
        """Likewise."""
        self.orders += [(number, _order.decode(data)) for number, data in orders]

    def end(self, number: int) -> None:
        """Likewise."""
        self.ended.append(number)

    # The packer.
    def shard(self, track_tasks: list[RemoteTrackTask]) -> messages.Shard:
        """See `stemsplit.executors.ray_cluster.pool.Packer`."""
        return messages.Shard(
            version="1",
            settings=Settings(),
            limits=Limits(),
            jobs=1,
            output=b"/out",
            deadline=None,
            pause=1,
            tracks=self.tracks(track_tasks),
        )

    def tracks(self, track_tasks: list[RemoteTrackTask]) -> tuple[messages.Assigned, ...]:
        """Likewise."""
        return tuple(
            messages.Assigned(track=one.track, job=one.job, audio_seconds=1, likely_seconds=1)
            for one in track_tasks
        )

    # What a test says.
    def say(self, shard: int, *said: messages.Said) -> None:
        """Let a shard say something."""
        self.coming += [(shard, messages.encode(one)) for one in said]

    def turn(self, count: int = 1) -> list[PoolEvent]:
        """Let the loop go round; give what it told."""
        told: list[PoolEvent] = []
        for _ in range(count):
            for event in self.loop:
                told.append(event)
                if type(event).__name__ == "Turned":
                    break
        self.events += told
        return told

    def given(self, shard: int) -> list[int]:
        """Give the tracks that a shard was given."""
        return [
            one.track
            for number, order in self.orders
            if number == shard and isinstance(order, messages.Shard | messages.More)
            for one in order.tracks
        ]

    def settle(self, shard: int, track: int, reason: Reason = Reason.DONE) -> None:
        """Let a shard bring a track to its end."""
        job = Job.of(Path("/there"), {"vocals": Path("/there/vocals.wav")})
        attempt = Attempt(number=1, resources=Resources(), reason=reason)
        outcome = Outcome(
            job=job, reason=reason, message="So it was.", warnings=WARNINGS, attempts=(attempt,)
        )
        self.say(shard, messages.TrackEnded(track=track, outcome=outcome))

    def begin(self, shard: int, track: int) -> None:
        """Let a shard ask whether it may begin."""
        self.say(
            shard,
            messages.Begins(
                question=track,
                track=track,
                settings=Settings(),
                resources=Resources(),
                number=1,
                staging_folder=b".stemsplit-1",
            ),
        )

    def publish(self, shard: int, track: int) -> None:
        """Let a shard ask whether it may show stems."""
        self.say(
            shard,
            messages.Publishing(
                question=100 + track,
                track=track,
                coming=(),
                stems=(),
                audio_seconds=100.0,
                warnings=WARNINGS,
            ),
        )

    def answers(self, shard: int) -> list[messages.Answer]:
        """Give what a shard was answered."""
        return [
            order
            for number, order in self.orders
            if number == shard and isinstance(order, messages.Answer)
        ]


@pytest.fixture
def world() -> Iterator[World]:
    """One node and four tracks."""
    made = World()
    yield made
    made.loop.close()


def _outcomes(events: Iterable[PoolEvent]) -> dict[bytes, Reason]:
    return {
        one.outcome.job.source: one.outcome.reason for one in events if isinstance(one, TrackEnded)
    }


def _source(track: int) -> bytes:
    return b"/in/%d" % (track - 1)


def test_a_batch_from_its_first_track_to_its_last(world: World) -> None:
    """Tracks are given to shards that have arrived, before each step it asks, then it is closed."""
    world.turn()
    assert [one.number for one in world.submitted] == [1, 2], "one more than there is room for"
    assert not world.orders, "nothing is given to a shard that no node has taken"
    world.say(1, messages.Arrived(node="n0"))
    world.turn(2)
    assert world.given(1) == [1, 2, 3, 4]
    for track in range(1, 5):
        world.begin(1, track)
        world.publish(1, track)
        world.settle(1, track)
    world.say(1, messages.Hungry(tracks=1))
    world.turn(2)
    assert [one.completed for one in world.answers(1)] == [False, True] * 4
    assert world.recorder.told[:2] == [("begins", b"/in/0"), ("publishing", b"/in/0")]
    assert world.orders[-1] == (1, messages.Close())
    assert 2 in world.ended, "the shard that waits is not needed any more"
    assert _outcomes(world.events) == {_source(track): Reason.DONE for track in range(1, 5)}
    done = [one.outcome for one in world.events if isinstance(one, TrackEnded)]
    assert done[0].job.paths["vocals"] == OUT / "0" / "vocals.wav", "with this machine's paths"
    assert done[0].attempts[0].node == "node 0"
    assert done[0].warnings == WARNINGS
    world.say(1, messages.Closed(unstarted=(), late=()))
    world.coming.append((1, Ended()))
    assert not [one for one in world.turn(2) if isinstance(one, TrackEnded)]
    assert next(world.loop, None) is None
    assert not world.pool.unstarted()


def test_a_lost_node_costs_what_was_in_flight() -> None:
    """What it had begun is brought in order and done again, before all others."""
    world = World(slots=2)
    world.turn()
    world.say(1, messages.Arrived(node="n0"))
    world.say(2, messages.Arrived(node="n1"))
    world.turn(2)
    first, second = world.given(1), world.given(2)
    assert sorted(first + second) == [1, 2, 3, 4][: len(first + second)]
    world.begin(1, first[0])
    world.turn()
    world.coming.append((1, Ended(fault="the node died")))
    told = world.turn(1)
    assert [one.track_task.job.source for one in told if isinstance(one, Withdrawn)] == [
        _source(first[0])
    ]
    assert world.lost == [_source(first[0])], "and not what it had not begun"
    assert "broke off (the node died)" in next(one.text for one in told if isinstance(one, Noted))
    # What the dead node says now is not heard, and has no answer.
    before = len(world.recorder.told)
    world.publish(1, first[0])
    world.settle(1, first[0])
    told = world.turn(2)
    assert not _outcomes(told)
    assert len(world.recorder.told) == before
    third = world.submitted[-1].number
    world.say(third, messages.Arrived(node="n0"))
    world.turn(2)
    assert world.given(third)[0] == first[0]
    world.loop.close()


def test_what_a_lost_node_had_shown_is_done(world: World) -> None:
    """Its last word was lost with it; the stems are there."""
    world.shown.add(_source(1))
    world.turn()
    world.say(1, messages.Arrived(node="n0"))
    world.turn(2)
    world.begin(1, 1)
    world.publish(1, 1)
    world.turn()
    world.coming.append((1, Ended(fault="gone")))
    told = world.turn()
    assert _outcomes(told) == {_source(1): Reason.DONE}
    outcome = next(one.outcome for one in told if isinstance(one, TrackEnded))
    assert outcome.audio_seconds == 100.0
    assert outcome.warnings == WARNINGS


def test_a_track_that_takes_node_after_node_with_it_is_given_up() -> None:
    """After five of them; the others go on."""
    world = World(songs=1, slots=5)
    for number in range(1, 6):
        world.turn()
        shard = world.submitted[-1].number
        world.say(shard, messages.Arrived(node=f"n{number - 1}"))
        world.turn(2)
        world.begin(shard, 1)
        world.coming.append((shard, Ended(fault="gone")))
        world.turn()
    assert _outcomes(world.events) == {_source(1): Reason.NODE_LOST}
    world.loop.close()


def test_a_node_that_refuses_is_not_used_any_more() -> None:
    """Its tracks go elsewhere; where there is no other, the batch ends with a sentence."""
    world = World(slots=2)
    world.turn()
    world.say(
        1, messages.Arrived(node="n0"), messages.Refused(message="No engine.", remedy="Get one.")
    )
    world.coming.append((1, Ended()))
    world.turn(2)
    assert world.unusable == {"n0": "No engine. Get one."}
    assert world.submitted[-1].not_on == ("n0",)
    assert {2, 3} <= set(world.ended), "those that might still have come to it"
    last = world.submitted[-1].number
    refused = messages.Refused(message="No engine.", remedy="Get one.")
    world.say(last, messages.Arrived(node="n1"), refused)
    world.coming.append((last, Ended()))
    with pytest.raises(ClusterError, match="No node of the cluster can be used: No engine"):
        world.turn(3)


def test_a_broken_engine_is_a_matter_of_its_node() -> None:
    """Where there is another node; of the only one it is a matter of the batch."""
    world = World(slots=2)
    world.turn()
    world.say(1, messages.Arrived(node="n0"))
    world.turn(2)
    world.begin(1, 1)
    world.settle(1, 1, Reason.ENGINE_UNAVAILABLE)
    assert not _outcomes(world.turn(2))
    assert "n0" in world.unusable
    assert _source(1) in {track_task.job.source for track_task in world.pool.unstarted()}
    other = world.submitted[-1].number
    world.say(other, messages.Arrived(node="n1"))
    world.turn(2)
    world.settle(other, 1, Reason.ENGINE_UNAVAILABLE)
    assert _outcomes(world.turn(2)) == {_source(1): Reason.ENGINE_UNAVAILABLE}
    world.loop.close()


def test_the_gate_holds_back_what_is_handed_out(world: World) -> None:
    """And lets it through later."""
    world.closed.add(_source(3))
    world.turn()
    world.say(1, messages.Arrived(node="n0"))
    world.turn(2)
    assert world.given(1) == [1, 2]
    world.settle(1, 1)
    world.say(1, messages.Hungry(tracks=1))
    world.turn(3)
    assert world.given(1) == [1, 2]
    assert not any(isinstance(order, messages.Close) for _, order in world.orders)
    world.closed.clear()
    world.turn()
    assert world.given(1) == [1, 2, 3]


def test_a_shard_that_says_nothing_any_more_is_given_up(world: World) -> None:
    """As one whose machine hangs; Ray may not notice."""
    world.turn()
    world.say(1, messages.Arrived(node="n0"))
    world.turn(2)
    world.begin(1, 1)
    world.turn()
    world.turn(500)
    world.say(1, messages.Alive())
    world.turn(2)
    assert 1 not in world.ended
    world.now += 400  # as by a laptop that slept: no silence of the shard's
    world.turn(2)
    assert 1 not in world.ended
    world.turn(700)
    assert 1 in world.ended
    assert world.lost == [_source(1)]


def test_ctrl_c_lets_what_works_finish(world: World) -> None:
    """Shards are told; what they have not begun is not started."""
    world.turn()
    world.say(1, messages.Arrived(node="n0"))
    world.turn(2)
    world.begin(1, 1)
    world.turn()
    world.pool.drain()
    world.turn()
    assert (1, messages.Drain()) in world.orders
    world.settle(1, 1)
    world.say(1, messages.Closed(unstarted=(2, 3), late=(4,)))
    world.coming.append((1, Ended()))
    world.turn(2)
    assert next(world.loop, None) is None
    assert _outcomes(world.events) == {_source(1): Reason.DONE}
    assert [one.job.source for one in world.pool.turned_away()] == [_source(4)]
    assert {one.job.source for one in world.pool.unstarted()} == {_source(n) for n in (2, 3, 4)}


def test_what_may_not_be_shown_is_not(world: World) -> None:
    """The error of the journal reaches the node in its own words."""
    world.recorder.forbidden = True
    world.turn()
    world.say(1, messages.Arrived(node="n0"))
    world.turn(2)
    world.publish(1, 1)
    world.turn()
    answer = world.answers(1)[-1]
    assert (answer.error, answer.message) == ("OutputExistsError", "Somebody was quicker.")


def test_a_cluster_without_nodes_is_waited_for_but_not_for_ever() -> None:
    """It may be growing."""
    world = World(nodes=[Machine(node="n0", name="node 0", cpus=1, memory_bytes=2**30)])
    world.nodes.clear()
    told = world.turn(70)
    assert any("waiting for a node" in one.text for one in told if isinstance(one, Noted))
    world.now += 2000
    with pytest.raises(ClusterError, match="No node of the cluster is left"):
        world.turn(3)


def test_a_node_whose_shards_break_off_is_not_asked_for_ever() -> None:
    """One that dies before it can say what is wrong; after three it is ruled out."""
    world = World(slots=2)
    for _ in range(3):
        world.turn()
        shard = world.submitted[-1].number
        world.say(shard, messages.Arrived(node="n0"))
        world.turn(2)
        assert "n0" not in world.unusable
        world.coming.append((shard, Ended(fault="exit code 1")))
        world.turn()
    assert "break off (exit code 1)" in world.unusable["n0"]
    world.loop.close()


def test_shards_that_no_node_can_begin_end_the_batch(world: World) -> None:
    """As where stemsplit cannot be imported there."""
    for number in (1, 2, 3):
        world.turn(2)
        world.coming.append((number, Ended(fault="no module")))
    with pytest.raises(ClusterError, match="No node could begin a shard"):
        world.turn()


def test_a_node_that_has_not_answered_is_given_nothing(world: World) -> None:
    """It may not see the output folder; a shard may come to it all the same."""
    world.turn()
    world.say(1, messages.Arrived(node="new"))
    world.turn(2)
    assert not world.given(1)
    world.nodes.append(Machine(node="new", name="new", cpus=1, memory_bytes=2**30))
    world.turn()
    assert world.given(1)


def test_what_nobody_understands_ends_a_shard(world: World) -> None:
    """And not the batch."""
    world.turn()
    world.say(1, messages.Arrived(node="n0"))
    world.turn(2)
    world.begin(1, 1)
    world.coming.append((1, b"\xc1"))
    told = world.turn(2)
    assert 1 in world.ended
    assert any("nobody understands" in one.text for one in told if isinstance(one, Noted))


@pytest.mark.parametrize(
    "staging_folder", [b"../.stemsplit-x", b"/tmp/.stemsplit-x", b"music", b"a/.stemsplit-x/.."]
)
def test_a_node_cannot_name_other_folders(world: World, staging_folder: bytes) -> None:
    """What it says becomes paths of this machine."""
    world.turn()
    world.say(1, messages.Arrived(node="n0"))
    world.turn(2)
    begins = messages.Begins(
        question=1,
        track=1,
        settings=Settings(),
        resources=Resources(),
        number=1,
        staging_folder=staging_folder,
    )
    world.say(1, begins)
    stem = Stem("vocals.wav", b"../../home/me/.ssh/authorized_keys", 1, 1)
    world.say(
        1,
        messages.Publishing(question=2, track=1, coming=(stem,), stems=(), audio_seconds=1.0),
    )
    world.turn()
    assert [one.error for one in world.answers(1)] == ["StoppedError", "StoppedError"]
    assert not world.recorder.told

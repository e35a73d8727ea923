"""Runs in the supervisor. The pool of a cluster: shards out, what happens in them back, in step.

Takes the place of `stemsplit.supervisor.pool`, which runs on the nodes. What is kept of the batch
is kept here: before a shard does what a crash must not make forgotten, it asks this pool, which
asks the journal. A shard that is given up has no answer any more, so that nothing is done twice.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import msgspec

from stemsplit.core.errors import ClusterError, StemsplitError, StoppedError
from stemsplit.core.messages import Finished
from stemsplit.core.outcome import Outcome, Reason
from stemsplit.core.text import counted, mebibytes, quoted
from stemsplit.executors.ray_cluster import messages
from stemsplit.executors.ray_cluster.client_messages import Ended, Submission
from stemsplit.executors.ray_cluster.sharding import (
    MOST_SECONDS,
    MOST_TRACKS,
    tracks_of_next,
    weight,
)
from stemsplit.journal.records import places_below
from stemsplit.storage.publish import STAGING_PREFIX
from stemsplit.storage.remote import is_remote
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis
from stemsplit.supervisor.pool_interface import (
    GateDecision,
    Launched,
    LoopIterated,
    MemorySampled,
    MessageReceived,
    Noted,
    Retried,
    TrackEnded,
    Withdrawn,
    always_open,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
    from pathlib import Path

    from stemsplit.core.job import Job
    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Task
    from stemsplit.executors.ray_cluster.sharding import Machine, ShardSize
    from stemsplit.executors.track_task import AttemptRecorder
    from stemsplit.journal.records import Stem
    from stemsplit.supervisor.pool_interface import FinalisedAttempt, Gate, PoolEvent, TrackTask

_TURN_SECONDS = 0.5

_MOST_LOSSES = 5
"""A track that was being separated on so many nodes when they were lost is not tried again."""

_CHANCE_LOSSES = 1
"""So many are taken for chance: the track is then the next one. After more it is the last."""

_SILENCE_SECONDS = 300.0
"""A shard that says nothing for so long, where it says something every few seconds, is given up."""

_WAIT_SECONDS = 30.0
"""After so long without a shard at work it is said that the batch waits for the cluster."""

_PATIENCE_SECONDS = 1800.0
"""So long a batch waits for a cluster without nodes."""

_STOP_SECONDS = 15.0
"""So long shards may take to end when they are told to."""

_OF_THE_NODE = frozenset(
    {
        Reason.DISK_FULL,
        Reason.ENGINE_UNAVAILABLE,
        Reason.NO_MEMORY,
        Reason.UNWRITABLE,
    }
)
"""Failures that may meet every track on one node, and none on another."""

_MOST_MOVES = 2
"""A track that has failed in such a way on so many nodes does not go to another one."""

_MOST_FAULTS = 3
"""So many shards of a node, one after the other, that broke off and had done nothing, rule it out;
so many that no node had taken end the batch."""

_AWAY_SECONDS = 5.0
"""A turn that took longer than this is no silence of the shards'."""

_LOOK_SECONDS = 0.5


class ClusterClient(Protocol):
    """The nodes, as the pool sees them (`stemsplit.executors.ray_cluster.client.RayClient`)."""

    @property
    def unusable(self) -> Mapping[str, str]:
        """Nodes that are given nothing, and why."""

    def machines(self) -> list[Machine]:
        """List the nodes that can be used."""

    def are_coming(self) -> bool:
        """Tell whether a node has not answered yet."""

    def rule_out(self, node: str, why: str, name: str) -> None:
        """Give a node nothing any more."""

    def submit(self, submission: Submission) -> None:
        """Hand out a shard."""

    def wait(self, seconds: float) -> Iterable[tuple[int, bytes | Ended]]:
        """Give what shards have said and which have ended."""

    def order(self, orders: list[tuple[int, bytes]]) -> None:
        """Leave orders for shards."""

    def end(self, number: int) -> None:
        """End a shard by force."""


class Packer(Protocol):
    """Puts tracks into the words that a node gets, with its paths."""

    def shard(self, track_tasks: list[RemoteTrackTask], /) -> messages.Shard:
        """Put the first tracks of a shard into words."""

    def tracks(self, track_tasks: list[RemoteTrackTask], /) -> tuple[messages.Assigned, ...]:
        """Put more of them into words."""


class LostTracks(Protocol):
    """Brings in order what a node has left of a track when it was lost."""

    def __call__(self, job: Job, /) -> bool:
        """Do so.

        Returns:
            whether all stems of the track are in place.
        """


@dataclass(slots=True, kw_only=True, eq=False)
class RemoteTrackTask:
    """A track that a node works on; see `stemsplit.supervisor.pool_interface.TrackTask`.

    Attributes:
        job: what is wanted, with the paths of this machine.
        audio_seconds: where memory depends on it.
        likely_seconds: of audio, guessed where it is not known.
        recorder: is asked before each step.
        track: its number in the batch.
    """

    job: Job
    audio_seconds: float
    likely_seconds: float
    recorder: AttemptRecorder
    track: int = 0

    def begin(self, number: int, resources: Resources) -> Task:
        """Belongs to the node."""
        raise NotImplementedError

    def conclude(
        self, task: Task, diagnosis: ExitDiagnosis, result: Finished | None
    ) -> FinalisedAttempt:
        """Belongs to the node."""
        raise NotImplementedError


@dataclass(slots=True, kw_only=True)
class _Open:
    """A shard that was handed out and has not ended.

    Attributes:
        not_on: nodes that it must not go to.
        left: its tracks that are not settled, by number.
        wants: so many more tracks it could begin.
        weight: of all tracks that it was given.
        begun: those of them that a child was allowed for.
        results: what the child has said of those that may be shown.
        node, name: of the node that has it; empty if none has yet.
        heard_at: when it last said something.
        total_bytes: of all its processes.
        trees: of each of its children, by its track's source.
    """

    not_on: tuple[str, ...] = ()
    left: dict[int, RemoteTrackTask] = field(default_factory=dict)
    wants: int = 0
    weight: float = 0.0
    begun: set[int] = field(default_factory=set)
    results: dict[int, messages.Publishing] = field(default_factory=dict)
    node: str = ""
    name: str = ""
    heard_at: float = 0.0
    total_bytes: int = 0
    trees: dict[bytes, int] = field(default_factory=dict)

    @property
    def fed(self) -> bool:
        """Whether it has been told what is to be done."""
        return self.weight > 0

    def look_at(self, total_bytes: int, trees: Mapping[int, int]) -> None:
        """Take in what its processes use; the trees by number of track."""
        self.total_bytes = total_bytes
        sizes = {track: size for track, size in trees.items() if track in self.left}
        self.trees = {self.left[track].job.source: size for track, size in sizes.items()}

    def is_old(self, shard_size: ShardSize) -> bool:
        """Tell whether it has done so much that a fresh one is to go on."""
        return self.weight >= MOST_SECONDS * shard_size.jobs


class ClusterPool:
    """Hands tracks out in shards; a generator tells what happens.

    Args:
        client: the nodes.
        shard_size: of a shard.
        model_name: that nodes need; empty if none.
        output: the folder for all stems.
        packer: puts tracks into the words that a node gets.
        lost: brings in order what a lost node has left.
        gate: is asked before a track is handed out.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        client: ClusterClient,
        shard_size: ShardSize,
        *,
        model_name: str,
        output: Path,
        packer: Packer,
        lost: LostTracks,
        gate: Gate = always_open,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hand nothing out yet."""
        self._client = client
        self._shard_size = shard_size
        self._model_name = model_name
        self._output = output
        self._packer = packer
        self._lost = lost
        self._gate = gate
        self._clock = clock
        self._line: deque[RemoteTrackTask] = deque()
        self._weight = 0.0
        self._late: list[RemoteTrackTask] = []
        self._shards: dict[int, _Open] = {}
        self._given: dict[int, RemoteTrackTask] = {}
        self._orders: list[tuple[int, bytes]] = []
        self._losses: Counter[int] = Counter()
        self._moves: Counter[int] = Counter()
        self._faults: Counter[str] = Counter()
        self._total_bytes = 0
        self._next_look = 0.0
        self._last_turn = clock()
        self._tracks = 0
        self._numbers = 0
        self._peak_bytes: int | None = None
        self._idle_since: float | None = None
        self._has_said_wait = False
        self._draining = False
        self._has_drained = False
        self._stopping = False

    @property
    def peak_memory_bytes(self) -> int | None:
        """The largest memory of all shards together so far, None if it was never read."""
        return self._peak_bytes

    def add(self, track_task: TrackTask) -> None:
        """Put a track at the end of the line."""
        assert isinstance(track_task, RemoteTrackTask)  # noqa: S101 - made beside this pool
        self._tracks += 1
        track_task.track = self._tracks
        self._append([track_task])

    def close(self) -> None:
        """Accept that nothing more is added."""

    def drain(self) -> None:
        """Hand nothing more out, and let what works finish. From any thread or signal handler."""
        self._draining = True

    def stop(self) -> None:
        """End every shard now. From any thread or signal handler."""
        self._stopping = True

    def unstarted(self) -> list[TrackTask]:
        """List the tracks that are still in line, and those that the gate has turned away."""
        return [*self._late, *self._line]

    def turned_away(self) -> list[TrackTask]:
        """List the tracks that the gate has turned away."""
        return [*self._late]

    def run(self) -> Generator[PoolEvent, None, None]:
        """Do the work and yield what happens, until there is none left or the pool is ended.

        Raises:
            ClusterError: if the cluster is lost, or none of its nodes can do the work.
        """
        try:
            while not self._stopping:
                self._pass_drain_on()
                self._submit()
                yield from self._feed()
                if self._is_over():
                    return
                yield from self._wait_for_nodes()
                for number, what in self._client.wait(_TURN_SECONDS):
                    if isinstance(what, Ended):
                        yield from self._ended(number, what)
                    elif number in self._shards:
                        yield from self._take_in(number, what)
                self._send_orders()
                yield from self._look()
                yield from self._give_up_the_silent()
                yield LoopIterated()
        finally:
            self._end_all()

    def _is_over(self) -> bool:
        """Tell whether all is done; shards that no node has taken yet hold nothing."""
        at_work = any(shard.node for shard in self._shards.values())
        return not at_work and (self._draining or not self._line)

    def _take_in(self, number: int, what: bytes) -> Iterator[PoolEvent]:
        try:
            said = messages.decode_said(what)
        except msgspec.DecodeError:
            # Nobody knows what else it may say; what it had begun is done elsewhere.
            self._client.end(number)
            yield from self._ended(number, Ended(fault="it said what nobody understands"))
        else:
            yield from self._heard(number, said)

    def _look(self) -> Iterator[MemorySampled]:
        if self._total_bytes and self._clock() >= self._next_look:
            self._next_look = self._clock() + _LOOK_SECONDS
            self._peak_bytes = max(self._peak_bytes or 0, self._total_bytes)
            shards = self._shards.values()
            trees = {source: size for shard in shards for source, size in shard.trees.items()}
            yield MemorySampled(total_bytes=self._total_bytes, trees=trees)

    def _end_all(self) -> None:
        """Let no shard go on; what it was allowed to show by then is shown, or not begun."""
        with contextlib.suppress(ClusterError):  # then nothing can be said to anybody
            self._stop_all()
        self._shards.clear()

    def _stop_all(self) -> None:
        at_work = {number for number, shard in self._shards.items() if shard.node}
        self._orders = [(number, messages.encode(messages.Stop())) for number in at_work]
        self._send_orders()
        deadline = self._clock() + _STOP_SECONDS
        while at_work and self._clock() < deadline:
            for number, what in self._client.wait(_TURN_SECONDS):
                if isinstance(what, Ended):
                    at_work.discard(number)
        for number in self._shards:
            self._client.end(number)

    def _pass_drain_on(self) -> None:
        if self._draining and not self._has_drained:
            self._has_drained = True
            for number, shard in self._shards.items():
                self._let_finish(number, shard)

    def _let_finish(self, number: int, shard: _Open) -> None:
        """Let a shard begin nothing more; one that has been told nothing yet need not begin."""
        order = messages.Drain() if shard.fed else messages.Close()
        self._orders.append((number, messages.encode(order)))

    def _send_orders(self) -> None:
        if self._orders:
            self._client.order(self._orders)
            self._orders = []

    def _submit(self) -> None:
        """Keep as many shards in hand as the nodes have room for, and one more.

        That one waits without tracks: it begins where a node comes or another shard ends, and tells
        a cluster that grows with its demand that there is some.
        """
        not_on = tuple(self._client.unusable)
        needed = bool(self._line) and not self._draining
        for number, shard in list(self._shards.items()):
            # One that nobody needs any more, or that may come to a node ruled out since.
            if not shard.node and (not needed or shard.not_on != not_on):
                self._client.end(number)
                del self._shards[number]
        if not needed:
            return
        coming = [number for number, shard in self._shards.items() if not shard.node]
        slots = self._shard_size.slots(self._client.machines())
        for _ in range(min(slots + 1 - len(self._shards), len(self._line) + 1 - len(coming))):
            self._numbers += 1
            self._shards[self._numbers] = _Open(heard_at=self._clock(), not_on=not_on)
            self._client.submit(
                Submission(
                    number=self._numbers,
                    model_name=self._model_name,
                    cpus=self._shard_size.cpus,
                    memory_bytes=self._shard_size.memory_bytes,
                    not_on=not_on,
                )
            )

    def _first_tracks(self) -> int:
        """Decide how many tracks a shard begins with."""
        slots = self._shard_size.slots(self._client.machines())
        return tracks_of_next(
            [weight(one.likely_seconds) for one in islice(self._line, MOST_TRACKS)],
            left=self._weight,
            slots=slots,
            jobs=self._shard_size.jobs,
        )

    def _feed(self) -> Iterator[PoolEvent]:
        """Give tracks to the shards that ask for some, as far as the gate allows it.

        A node that has joined just now is given some when it has answered as it should.
        """
        usable = {one.node for one in self._client.machines()}
        for number, shard in self._shards.items():
            if not shard.wants or self._draining or shard.node not in usable:
                continue
            taken: list[RemoteTrackTask] = []
            wanted = 0 if shard.is_old(self._shard_size) else shard.wants
            while self._line and len(taken) < wanted:
                answer = self._ask_gate(self._line[0])
                if answer is GateDecision.WAIT:
                    break
                track_task = self._take_first()
                if answer is GateDecision.GO:
                    self._given[track_task.track] = track_task
                    taken.append(track_task)
                elif answer is GateDecision.NEVER:
                    self._late.append(track_task)
                else:
                    yield _settled(track_task, answer)
            if not taken and self._line and not shard.is_old(self._shard_size):
                continue
            if not taken:
                order: messages.Order = messages.Close()
            elif shard.fed:
                order = messages.More(tracks=self._packer.tracks(taken))
            else:
                order = self._packer.shard(taken)
            shard.left |= {track_task.track: track_task for track_task in taken}
            shard.weight += sum(weight(track_task.likely_seconds) for track_task in taken)
            shard.wants = 0
            self._orders.append((number, messages.encode(order)))

    def _ask_gate(self, track_task: RemoteTrackTask) -> GateDecision | ExitDiagnosis:
        return self._gate(track_task, self._shard_size.resources, self._given.values())

    def _take_first(self) -> RemoteTrackTask:
        track_task = self._line.popleft()
        self._weight -= weight(track_task.likely_seconds)
        return track_task

    def _append(self, track_tasks: Iterable[RemoteTrackTask]) -> None:
        for track_task in track_tasks:
            self._line.append(track_task)
            self._weight += weight(track_task.likely_seconds)

    def _put_back(self, track_tasks: Iterable[RemoteTrackTask]) -> None:
        for track_task in reversed([*track_tasks]):
            self._line.appendleft(track_task)
            self._weight += weight(track_task.likely_seconds)

    def _wait_for_nodes(self) -> Iterator[Noted]:
        """Say so where nothing is at work, and do not wait for ever."""
        if any(shard.node for shard in self._shards.values()):
            self._idle_since, self._has_said_wait = None, False
            return
        now = self._clock()
        self._idle_since = self._idle_since or now
        machines = self._client.machines()
        if not machines and not self._client.are_coming():
            require_some(self._client.unusable)
        if now - self._idle_since > _WAIT_SECONDS and not self._has_said_wait:
            self._has_said_wait = True
            yield Noted(
                text=f"waiting for a node with {counted(self._shard_size.cpus, 'processor')} and "
                f"{mebibytes(self._shard_size.memory_bytes)} of memory free"
            )
        if now - self._idle_since > _PATIENCE_SECONDS and not machines:
            raise ClusterError(
                "No node of the cluster is left.",
                "Start some, and run the same command again: it does what is left.",
            )

    def _heard(self, number: int, said: messages.Said) -> Iterator[PoolEvent]:
        shard = self._shards[number]
        shard.heard_at = self._clock()
        match said:
            case messages.Begins() | messages.Publishing() | messages.TakenBack():
                self._answer(number, shard, said)
            case messages.MemorySampled(total_bytes=total, trees=trees):
                self._total_bytes += total - shard.total_bytes
                shard.look_at(total, trees)
            case messages.Noted(text=text):
                yield Noted(text=f"{shard.name}: {text}")
            case (
                messages.Launched()
                | messages.MessageReceived()
                | messages.Withdrawn()
                | messages.Retried()
                | messages.TrackEnded()
            ):
                if said.track in shard.left:
                    yield from self._heard_of_track(shard, shard.left[said.track], said)
            case _:
                self._heard_of_shard(shard, said)

    def _heard_of_shard(
        self,
        shard: _Open,
        said: messages.Arrived
        | messages.Refused
        | messages.Hungry
        | messages.Alive
        | messages.Closed,
    ) -> None:
        match said:
            case messages.Arrived(node=node):
                names = {one.node: one.name for one in self._client.machines()}
                shard.node, shard.name = node, names.get(node, node[:8])
                shard.wants = self._first_tracks()
            case messages.Hungry(tracks=tracks):
                shard.wants = tracks
            case messages.Refused(message=message, remedy=remedy):
                self._rule_out(shard, f"{message} {remedy}".rstrip())
            case messages.Closed(unstarted=unstarted, late=late):
                self._late += self._taken_from(shard, late)
                self._put_back(self._taken_from(shard, unstarted))
            case messages.Alive():
                pass

    def _rule_out(self, shard: _Open, why: str) -> None:
        """Give a node nothing more for a while, and let what it has begun finish."""
        self._client.rule_out(shard.node, why, shard.name)
        for number, other in self._shards.items():
            if other.node == shard.node:
                self._let_finish(number, other)

    def _taken_from(self, shard: _Open, tracks: Iterable[int]) -> list[RemoteTrackTask]:
        taken = [shard.left.pop(track) for track in tracks if track in shard.left]
        for track_task in taken:
            del self._given[track_task.track]
        return taken

    def _heard_of_track(
        self,
        shard: _Open,
        track_task: RemoteTrackTask,
        said: messages.Launched
        | messages.MessageReceived
        | messages.Withdrawn
        | messages.Retried
        | messages.TrackEnded,
    ) -> Iterator[PoolEvent]:
        match said:
            case messages.Launched(number=number, resources=resources, ram_cap_bytes=cap):
                yield Launched(
                    track_task=track_task, number=number, resources=resources, ram_cap_bytes=cap
                )
            case messages.MessageReceived(message=message):
                yield MessageReceived(track_task=track_task, message=message)
            case messages.Withdrawn():
                shard.begun.discard(track_task.track)
                self._lost(track_task.job)
                yield Withdrawn(track_task=track_task)
            case messages.Retried(attempt=attempt, resources=resources):
                shard.begun.discard(track_task.track)
                attempt = msgspec.structs.replace(attempt, node=shard.name)
                yield Retried(track_task=track_task, attempt=attempt, resources=resources)
            case messages.TrackEnded(outcome=outcome, unseen=unseen):
                yield from self._settle(shard, track_task, outcome, unseen=unseen)

    def _settle(
        self, shard: _Open, track_task: RemoteTrackTask, outcome: Outcome, *, unseen: bool
    ) -> Iterator[PoolEvent]:
        del shard.left[track_task.track], self._given[track_task.track]
        shard.begun.discard(track_task.track)
        shard.results.pop(track_task.track, None)
        attempts = [msgspec.structs.replace(one, node=shard.name) for one in outcome.attempts]
        outcome = msgspec.structs.replace(outcome, job=track_task.job, attempts=tuple(attempts))
        if outcome.reason is Reason.DONE:
            self._faults.pop(shard.node, None)
        if self._is_of_the_node(shard, track_task, outcome, unseen=unseen):
            self._moves[track_task.track] += 1
            why = f"{outcome.message} {outcome.remedy}".rstrip()
            if outcome.reason is Reason.UNREACHABLE:
                self._count_unreachable(shard, why)
            else:
                self._rule_out(shard, why)
            if attempts:
                resources = self._shard_size.resources
                yield Retried(track_task=track_task, attempt=attempts[-1], resources=resources)
            self._append([track_task])
            return
        yield TrackEnded(track_task=track_task, outcome=outcome)

    def _count_unreachable(self, shard: _Open, why: str) -> None:
        """Rule a node out that reaches no storage, but not for one file that nobody may read."""
        self._faults[shard.node] += 1
        if self._faults[shard.node] >= _MOST_FAULTS:
            self._faults[shard.node] = 0
            self._rule_out(shard, why)

    def _is_of_the_node(
        self, shard: _Open, track_task: RemoteTrackTask, outcome: Outcome, *, unseen: bool
    ) -> bool:
        """Tell whether a track may fare better on another node, there being one."""
        if self._draining or self._moves[track_task.track] >= _MOST_MOVES:
            return False
        may = outcome.reason in _OF_THE_NODE or outcome.reason is Reason.UNREACHABLE
        if outcome.reason is Reason.DISK_FULL and not is_remote(self._output):
            may = False  # it is the one disk that all of them write to
        if unseen:
            may = track_task.job.source_path.exists()
        return may and any(one.node != shard.node for one in self._client.machines())

    def _answer(
        self,
        number: int,
        shard: _Open,
        asked: messages.Begins | messages.Publishing | messages.TakenBack,
    ) -> None:
        completed = False
        try:
            track_task = shard.left.get(asked.track)
            if track_task is None:
                raise StoppedError("The track was given to another node.")
            match asked:
                case messages.Begins(settings=settings, resources=resources, number=attempt):
                    folder = self._output / os.fsdecode(_checked_staging(asked.staging_folder))
                    track_task.recorder.attempt_begins(
                        track_task.job, settings, resources, attempt, folder
                    )
                    shard.begun.add(track_task.track)
                case messages.Publishing(coming=coming):
                    _check_places(coming, track_task.job, self._output)
                    shard.results[track_task.track] = asked
                    result = Finished(
                        stems=asked.stems,
                        audio_seconds=asked.audio_seconds,
                        warnings=asked.warnings,
                    )
                    completed = track_task.recorder.publishing(track_task.job, coming, result)
                case messages.TakenBack():
                    track_task.recorder.taken_back(track_task.job)
        except StemsplitError as error:
            answer = messages.Answer(
                question=asked.question,
                error=type(error).__name__,
                message=error.message,
                remedy=error.remedy,
            )
        else:
            answer = messages.Answer(question=asked.question, completed=completed)
        self._orders.append((number, messages.encode(answer)))

    def _give_up_the_silent(self) -> Iterator[PoolEvent]:
        now = self._clock()
        away = now - self._last_turn - _TURN_SECONDS
        self._last_turn = now
        for number, shard in list(self._shards.items()):
            if away > _AWAY_SECONDS:  # this process itself did not run, or was busy
                shard.heard_at += away
            if shard.node and now - shard.heard_at > _SILENCE_SECONDS:
                self._client.end(number)
                yield from self._ended(number, Ended(fault="it said nothing any more"))

    def _ended(self, number: int, end: Ended) -> Iterator[PoolEvent]:
        """Take leave of a shard; what it has not done is done elsewhere."""
        shard = self._shards.pop(number, None)
        if shard is None:
            return
        self._total_bytes -= shard.total_bytes
        self._count_fault(shard, end)
        for track in shard.left:
            del self._given[track]
        begun = [track_task for track, track_task in shard.left.items() if track in shard.begun]
        again: list[RemoteTrackTask] = []
        later: list[RemoteTrackTask] = []
        for track, track_task in shard.left.items():
            if track not in shard.begun:
                again.append(track_task)
                continue
            yield Withdrawn(track_task=track_task)
            if self._lost(track_task.job):
                yield _shown(track_task, shard.results.get(track))
                continue
            self._losses[track] += bool(end.fault)
            if self._losses[track] >= _MOST_LOSSES:
                yield _settled(track_task, _given_up(self._losses[track]))
            else:
                (again if self._losses[track] <= _CHANCE_LOSSES else later).append(track_task)
        self._put_back(again)
        self._append(later)
        if end.fault and shard.node and not self._stopping:
            count = counted(len(again) + len(later), "track")
            yield Noted(
                text=f"a shard on {shard.name} broke off ({end.fault}): {count} of it to be done "
                f"elsewhere, {len(begun)} of them begun"
            )

    def _count_fault(self, shard: _Open, end: Ended) -> None:
        """Count shards that break off and have done nothing, so that they do not for ever.

        Raises:
            ClusterError: if no node could take one, again and again.
        """
        if not end.fault or self._stopping:
            return
        self._faults[shard.node] += 1
        if self._faults[shard.node] < _MOST_FAULTS:
            return
        if not shard.node:
            raise ClusterError(
                f"No node could begin a shard ({end.fault}).",
                "Look into Ray's logs on the nodes, in /tmp/ray/session_latest/logs.",
            )
        self._faults[shard.node] = 0
        self._client.rule_out(shard.node, f"its shards break off ({end.fault}).", shard.name)


def _checked_staging(track_task: bytes) -> bytes:
    """Give a work folder below the output folder, if it is one."""
    clean = os.path.normpath(track_task)
    if (
        os.path.isabs(track_task)  # noqa: PTH117 - bytes
        or clean.startswith(b"..")
        or not os.path.basename(clean).startswith(os.fsencode(STAGING_PREFIX))  # noqa: PTH119 - bytes
    ):
        raise StoppedError(f"{quoted(track_task)} is no work folder.")
    return clean


def _check_places(coming: Iterable[Stem], job: Job, output: Path) -> None:
    """Refuse stems for other places than the job's own."""
    places = set(places_below(job, output).values())
    for stem in coming:
        if os.path.normpath(stem.path) not in places or "/" in stem.work_name:
            raise StoppedError(f"{quoted(stem.path)} is no place of this track's.")


def require_some(unusable: Mapping[str, str]) -> None:
    """Refuse a cluster all of whose nodes are ruled out.

    Raises:
        ClusterError: with why the first of them is.
    """
    if unusable:
        why = next(iter(unusable.values()))
        message, _, remedy = why.partition(". ")
        raise ClusterError(f"No node of the cluster can be used: {message.rstrip('.')}.", remedy)


def _settled(track_task: RemoteTrackTask, diagnosis: ExitDiagnosis) -> TrackEnded:
    outcome = Outcome(
        job=track_task.job,
        reason=diagnosis.reason,
        message=diagnosis.message,
        remedy=diagnosis.remedy,
    )
    return TrackEnded(track_task=track_task, outcome=outcome)


def _shown(track_task: RemoteTrackTask, result: messages.Publishing | None) -> TrackEnded:
    """Tell of a track whose node was lost when it had shown its stems, or nearly."""
    outcome = Outcome(
        job=track_task.job,
        reason=Reason.DONE,
        warnings=() if result is None else result.warnings,
        stems=() if result is None else result.stems,
        audio_seconds=0.0 if result is None else result.audio_seconds,
    )
    return TrackEnded(track_task=track_task, outcome=outcome)


def _given_up(losses: int) -> ExitDiagnosis:
    return ExitDiagnosis(
        reason=Reason.NODE_LOST,
        message=f"{losses} nodes were lost while they separated it.",
        remedy="Look why those nodes were lost; with --retry-failed it is tried again.",
    )

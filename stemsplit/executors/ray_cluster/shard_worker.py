"""Runs in the supervisor of one shard, on a node of the cluster, as a program of its own.

The same supervised pool as on one machine, in a process of its own, which knows nothing of Ray.
What it is to do comes on standard input, and what happens goes to standard output
(`stemsplit.executors.ray_cluster.messages`). The end of its input means that whoever has started
it is gone: every child is ended then, and nothing is published any more.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from stemsplit.core import errors
from stemsplit.core.errors import StemsplitError, StoppedError
from stemsplit.core.messages import Hello, Progress, Ready, Separated, Started
from stemsplit.core.outcome import Reason
from stemsplit.core.text import quoted
from stemsplit.executors.gates import Gates, Room, Until
from stemsplit.executors.local import LocalPool
from stemsplit.executors.pool_planning import plan_pool, start_method_of, storage_of
from stemsplit.executors.ray_cluster import messages
from stemsplit.executors.ray_cluster.handshake import installed_version, is_seen_in_time
from stemsplit.executors.track_task import written_by
from stemsplit.models.engines import resolved
from stemsplit.models.forms import weights_of
from stemsplit.storage.remote import is_remote
from stemsplit.supervisor.pool_interface import (
    Launched,
    LoopIterated,
    MemorySampled,
    MessageReceived,
    Noted,
    Retried,
    TrackEnded,
    Withdrawn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stemsplit.core.job import Job
    from stemsplit.core.limits import Resources
    from stemsplit.core.messages import Finished
    from stemsplit.core.settings import Settings
    from stemsplit.journal.records import Stem
    from stemsplit.supervisor.pool import Pool
    from stemsplit.supervisor.pool_interface import Gate, PoolEvent, TrackTask
    from stemsplit.supervisor.pool_plan import PoolPlan

_WORD_SECONDS = 10.0
"""So often a shard says that it is there."""

_STUCK_SECONDS = 1800.0
"""A pool that has not gone round for so long is not spoken for any more."""


class _Line:
    """The line to whoever has started this process: says, asks, and hears orders on a thread."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._orders = map(messages.decode_order, messages.frames(source))
        self._sink = sink
        self._saying = threading.Lock()
        self._questions = itertools.count(1)
        self._answers: queue.SimpleQueue[messages.Answer | None] = queue.SimpleQueue()
        self._stopped = False

    def shard(self) -> messages.Shard | None:
        """Take in what is to be done; None if nothing is."""
        first = next(self._orders, None)
        return first if isinstance(first, messages.Shard) else None

    def obey(self, pool: Pool, add: Callable[[messages.Assigned], None]) -> None:
        """Pass orders on to a pool from now on."""
        threading.Thread(target=self._listen, args=(pool, add), name="orders", daemon=True).start()

    def _listen(self, pool: Pool, add: Callable[[messages.Assigned], None]) -> None:
        try:
            for order in self._orders:
                match order:
                    case messages.More(tracks=tracks):
                        for one in tracks:
                            add(one)
                    case messages.Close():
                        pool.close()
                    case messages.Drain():
                        pool.drain()
                    case messages.Answer():
                        self._answers.put(order)
                    case _:
                        break
        finally:
            self._stopped = True
            pool.stop()
            self._answers.put(None)

    def say(self, said: messages.Said) -> None:
        """Say something; where nobody listens any more, the end of the input tells that as well."""
        with self._saying, contextlib.suppress(OSError):
            messages.write_frame(self._sink, messages.encode(said))

    def number(self) -> int:
        """Give a question its number."""
        return next(self._questions)

    def ask(self, question: messages.Begins | messages.Publishing | messages.TakenBack) -> bool:
        """Ask, and wait for the answer.

        Returns:
            see `stemsplit.executors.track_task.AttemptRecorder.publishing`.

        Raises:
            StemsplitError: that forbids it.
        """
        if self._stopped:
            raise StoppedError("The shard was ended.")
        self.say(question)
        while (answer := self._answers.get()) is not None:
            if answer.question != question.question:
                continue
            if answer.error:
                raise getattr(errors, answer.error, StemsplitError)(answer.message, answer.remedy)
            return answer.completed
        raise StoppedError("The shard was ended.")


class _RemoteRecorder:
    """A `AttemptRecorder` that asks the machine that holds the journal before each step."""

    def __init__(self, line: _Line, track: int, output: bytes) -> None:
        self._line = line
        self._track = track
        self._output = output

    def attempt_begins(
        self, job: Job, settings: Settings, resources: Resources, number: int, staging_folder: Path
    ) -> None:
        """See `stemsplit.executors.track_task.AttemptRecorder`."""
        del job
        self._line.ask(
            messages.Begins(
                question=self._line.number(),
                track=self._track,
                settings=settings,
                resources=resources,
                number=number,
                staging_folder=os.path.relpath(os.fsencode(staging_folder), self._output),
            )
        )

    def publishing(self, job: Job, coming: Sequence[Stem], result: Finished) -> bool:
        """See `stemsplit.executors.track_task.AttemptRecorder`."""
        del job
        return self._line.ask(
            messages.Publishing(
                question=self._line.number(),
                track=self._track,
                coming=tuple(coming),
                stems=result.stems,
                audio_seconds=result.audio_seconds,
                warnings=result.warnings,
            )
        )

    def taken_back(self, job: Job) -> None:
        """See `stemsplit.executors.track_task.AttemptRecorder`."""
        del job
        self._line.ask(messages.TakenBack(question=self._line.number(), track=self._track))


def run(source: IO[bytes], sink: IO[bytes]) -> None:
    """Do a shard.

    Args:
        source: what it is, then orders.
        sink: takes what happens.
    """
    line = _Line(source, sink)
    heart = _Heart(line)
    shard = line.shard()
    if shard is None:
        return
    try:
        pool, told = _do(shard, line, heart)
    except StemsplitError as error:
        line.say(messages.Refused(message=error.message, remedy=error.remedy))
        return
    late = {told.track(track_task) for track_task in pool.turned_away()}
    unstarted = [told.track(track_task) for track_task in pool.unstarted()]
    line.say(
        messages.Closed(
            unstarted=tuple(track for track in unstarted if track not in late),
            late=tuple(sorted(late)),
        )
    )


def _do(shard: messages.Shard, line: _Line, heart: _Heart) -> tuple[Pool, _Told]:
    """Do what is to be done; gives the pool, which has ended.

    Raises:
        StemsplitError: if this node cannot do its part.
    """
    _require_same_version(shard)
    resolved(shard.settings)  # refuses where its engine is not installed
    _require_sight(shard)
    plan, told = _plan(shard), _Told(shard)
    output = Path(os.fsdecode(shard.output))
    workshop = LocalPool(
        shard.settings,
        plan,
        model_folder=weights_of(shard.settings),
        start_method=start_method_of(shard.settings),
        gate=_gate(shard, plan, told),
        storage=storage_of([output, *(one.job.source for one in shard.tracks)]),
    )
    pool = workshop.pool

    def add(one: messages.Assigned) -> None:
        told.expect(one)
        recorder = _RemoteRecorder(line, one.track, shard.output)
        pool.add(workshop.track_task(one.job, output, recorder, one.audio_seconds))

    with workshop, contextlib.closing(pool.run()) as happenings:
        for one in shard.tracks:
            add(one)
        line.obey(pool, add)
        for happening in happenings:
            heart.beat()
            for said in told.of(happening):
                line.say(said)
            if isinstance(happening, TrackEnded) and happening.outcome.reason.stops_batch:
                pool.drain()  # whoever listens decides what that means for the others
    return pool, told


class _Heart:
    """Says now and then that the shard is there, as long as its pool goes round.

    On a thread, because the pool may be busy for long with files on slow storage.
    """

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._beat_at = time.monotonic()
        threading.Thread(target=self._say, name="heart", daemon=True).start()

    def beat(self) -> None:
        """Take note that the pool goes round."""
        self._beat_at = time.monotonic()

    def _say(self) -> None:
        while time.monotonic() - self._beat_at < _STUCK_SECONDS:
            time.sleep(_WORD_SECONDS)
            self._line.say(messages.Alive())


def _require_same_version(shard: messages.Shard) -> None:
    """Refuse what was put in another one's place since the node was greeted."""
    version = installed_version()
    if shard.version != version:
        raise StemsplitError(
            f"It has stemsplit {version}, and the batch was started by {shard.version}.",
            "Install the same version on every node.",
        )


def _require_sight(shard: messages.Shard) -> None:
    """Refuse where the folder of the tracks is not seen, rather than fail every one of them."""
    sources = [one.job.source for one in shard.tracks if not is_remote(one.job.source)]
    if sources and not is_seen_in_time(sources):
        raise StemsplitError(
            f"It does not see {quoted(sources[0])}.",
            "Mount the same folder there, or say where it is by --path-map.",
        )


def _plan(shard: messages.Shard) -> PoolPlan:
    return plan_pool(
        shard.settings,
        shard.limits,
        jobs=shard.jobs,
        tracks=None,
        preloaded=start_method_of(shard.settings) == "forkserver",
    )


class _Told:
    """Puts what happens in the pool into words; how far the work is only so often."""

    def __init__(self, shard: messages.Shard) -> None:
        self._pause = shard.pause
        self._jobs = shard.jobs
        self._assigned: dict[bytes, messages.Assigned] = {}
        self._busy: set[int] = set()
        self._next: dict[object, float] = {}

    def expect(self, one: messages.Assigned) -> None:
        """Take in a track; from any thread."""
        self._assigned[one.job.source] = one
        self._busy.add(one.track)
        self._next.pop(messages.Hungry, None)

    def track(self, track_task: TrackTask) -> int:
        """Give the number of a track."""
        return self.assigned(track_task).track

    def assigned(self, track_task: TrackTask) -> messages.Assigned:
        """Give what is known of a track."""
        return self._assigned[track_task.job.source]

    def _is_time(self, what: object, pause: float) -> bool:
        now = time.monotonic()
        if now < self._next.get(what, 0.0):
            return False
        self._next[what] = now + pause
        return True

    def of(self, happening: PoolEvent) -> Iterator[messages.Said]:
        """Give what is to be said of it."""
        match happening:
            case LoopIterated():
                yield from self._wishes()
            case MemorySampled(total_bytes=total, trees=trees):
                if self._is_time(MemorySampled, self._pause):
                    by_track = {self._assigned[one].track: trees[one] for one in trees}
                    yield messages.MemorySampled(total_bytes=total, trees=by_track)
            case Noted(text=text):
                yield messages.Noted(text=text)
            case _:
                yield from self._of_track(happening, self.track(happening.track_task))

    def _wishes(self) -> Iterator[messages.Said]:
        room = self._jobs - len(self._busy)
        # Said again where nothing comes: the first word may have been lost.
        if room > 0 and self._is_time(messages.Hungry, _WORD_SECONDS):
            yield messages.Hungry(tracks=room)

    def _of_track(
        self, happening: Launched | MessageReceived | Retried | TrackEnded | Withdrawn, track: int
    ) -> Iterator[messages.Said]:
        match happening:
            case Launched(number=number, resources=resources, ram_cap_bytes=cap):
                yield messages.Launched(
                    track=track, number=number, resources=resources, ram_cap_bytes=cap
                )
            case MessageReceived(message=Progress() as message):
                if self._is_time(track, self._pause):
                    yield messages.MessageReceived(track=track, message=message)
            case MessageReceived(message=Hello() | Started() | Ready() | Separated() as message):
                if isinstance(message, Separated):
                    self._busy.discard(track)  # the next one may begin while its files are closed
                yield messages.MessageReceived(track=track, message=message)
            case Retried(attempt=attempt, resources=resources):
                self._busy.add(track)
                yield messages.Retried(track=track, attempt=attempt, resources=resources)
            case TrackEnded(outcome=outcome):
                self._busy.discard(track)
                self._next.pop(track, None)
                if outcome.reason is not Reason.CANCELLED:
                    unseen = outcome.reason is Reason.BAD_INPUT and not _is_seen(outcome.job)
                    yield messages.TrackEnded(track=track, outcome=outcome, unseen=unseen)
            case Withdrawn():
                yield messages.Withdrawn(track=track)


def _is_seen(job: Job) -> bool:
    return is_remote(job.source) or os.path.exists(job.source)  # noqa: PTH110 - bytes


def _gate(shard: messages.Shard, plan: PoolPlan, told: _Told) -> Gate:
    def predict(track_task: TrackTask, resources: Resources) -> float:
        return plan.forecast.seconds(told.assigned(track_task).likely_seconds, resources)

    def stem_bytes(track_task: TrackTask) -> int:
        return told.assigned(track_task).stem_bytes

    gates: list[Gate] = []
    if shard.deadline is not None:
        gates.append(Until(shard.deadline, predict))
    if not is_remote(shard.output):
        gates.append(Room(Path(os.fsdecode(shard.output)), stem_bytes, written_by))
    return Gates(gates)


def main() -> None:
    """Talk on standard input and output, and let nothing else be printed there."""
    # Without a buffer: a thread may be waiting for input when the program ends.
    source = os.fdopen(os.dup(0), "rb", buffering=0)
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    run(source, sink)


if __name__ == "__main__":
    main()

"""Runs in the supervisor. What this machine and a shard on a node say to one another.

Travels as MessagePack in frames: four bytes of length, big-endian, and so many of a message. What a
shard says is so never unpickled by stemsplit; what Ray's own processes tell one another is.
"""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING

import msgspec

from stemsplit.core.job import Job
from stemsplit.core.limits import Limits, Resources
from stemsplit.core.messages import Message
from stemsplit.core.outcome import Attempt, Outcome, StemFile, TrackWarning
from stemsplit.core.settings import Settings
from stemsplit.journal.records import Stem

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTH = struct.Struct(">I")


class Assigned(msgspec.Struct, frozen=True, kw_only=True):
    """A track of a shard.

    Attributes:
        track: its number in the batch.
        job: with the paths that the node has.
        audio_seconds: where memory depends on it; see
        `stemsplit.supervisor.pool_interface.TrackTask`. likely_seconds: of audio, guessed where it
        is not known. stem_bytes: that its stems will take; 0 where nobody knows.
    """

    track: int
    job: Job
    audio_seconds: float
    likely_seconds: float
    stem_bytes: int = 0


class Shard(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a node is given to do, first of all.

    Attributes:
        version: of stemsplit.
        settings, limits, jobs: as for a batch.
        output: the folder for all stems, as the node has it.
        deadline: in seconds since 1970; None if there is none.
        pause: the least seconds between two words on how far it is.
        tracks: to begin with.
    """

    version: str
    settings: Settings
    limits: Limits
    jobs: int
    output: bytes
    deadline: float | None
    pause: float
    tracks: tuple[Assigned, ...]


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The node cannot do its part; another one may."""

    message: str
    remedy: str


class Arrived(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A node has taken the shard: its number in the cluster."""

    node: str


class Hungry(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """So many more tracks could be begun now."""

    tracks: int


class Alive(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The shard's pool runs, and nothing else is to be said."""


class Launched(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface`."""

    track: int
    number: int
    resources: Resources
    ram_cap_bytes: int


class MessageReceived(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface`."""

    track: int
    message: Message


class Retried(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface`."""

    track: int
    attempt: Attempt
    resources: Resources


class TrackEnded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface`.

    Attributes:
        track: its number.
        outcome: of it.
        unseen: whether the node did not see its source at the end.
    """

    track: int
    outcome: Outcome
    unseen: bool = False


class Withdrawn(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface`."""

    track: int


class MemorySampled(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface`; the trees by number of track."""

    total_bytes: int
    trees: dict[int, int]


class Noted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface`."""

    text: str


class Begins(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """May an attempt begin? `staging_folder` is its staging folder below the output folder."""

    question: int
    track: int
    settings: Settings
    resources: Resources
    number: int
    staging_folder: bytes


class Publishing(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """May these stems be shown? `stems` and what follows are from the child's result."""

    question: int
    track: int
    coming: tuple[Stem, ...]
    stems: tuple[StemFile, ...]
    audio_seconds: float
    warnings: tuple[TrackWarning, ...] = ()


class TakenBack(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """They could not be, and none of them is."""

    question: int
    track: int


class Closed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The shard has come to its end: which tracks it has not begun, and which came too late."""

    unstarted: tuple[int, ...]
    late: tuple[int, ...]


Said = (
    Arrived
    | Refused
    | Hungry
    | Alive
    | Launched
    | MessageReceived
    | Retried
    | TrackEnded
    | Withdrawn
    | MemorySampled
    | Noted
    | Begins
    | Publishing
    | TakenBack
    | Closed
)
"""What a shard says."""


class More(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """More tracks."""

    tracks: tuple[Assigned, ...]


class Close(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """There will be no more: end when all is done."""


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Start nothing more."""


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """End every child now."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a question is answered with.

    Attributes:
        question: its number.
        error: the name of the error that forbids it; empty if it is allowed.
        message, remedy: of that error.
        completed: see `stemsplit.executors.track_task.AttemptRecorder.publishing`.
    """

    question: int
    error: str = ""
    message: str = ""
    remedy: str = ""
    completed: bool = False


Order = Shard | More | Close | Drain | Stop | Answer
"""What a shard is told."""

_said: msgspec.msgpack.Decoder[Said] = msgspec.msgpack.Decoder(Said)
_order: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)

encode = msgspec.msgpack.encode


def decode_said(data: bytes) -> Said:
    """Read what a shard said; raises `msgspec.DecodeError` on anything else."""
    return _said.decode(data)


def decode_order(data: bytes) -> Order:
    """Read what a shard is told; likewise."""
    return _order.decode(data)


def write_frame(stream: IO[bytes], data: bytes) -> None:
    """Send one message whole; raises `OSError` when the other side is gone."""
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def frames(stream: IO[bytes]) -> Iterator[bytes]:
    """Take one message after the other, until the other side is gone."""
    while head := _read(stream, _LENGTH.size):
        data = _read(stream, _LENGTH.unpack(head)[0])
        if data is None:
            return
        yield data


def _read(stream: IO[bytes], count: int) -> bytes | None:
    """Read so many bytes; None if there are not so many. The stream may have no buffer."""
    parts: list[bytes] = []
    while count:
        part = stream.read(count)
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)

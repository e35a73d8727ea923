"""Runs in the supervisor. The messages between the supervisor of a batch and its shards.

They are encoded as MessagePack and sent in frames: the length in four bytes, big-endian, then the
message. So stemsplit never unpickles what a shard sends; Ray unpickles the messages of its own
processes. Sender and receiver always have the same version of stemsplit.
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
from stemsplit.journal.stem_records import Stem

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTH = struct.Struct(">I")


class AssignedTrack(msgspec.Struct, frozen=True, kw_only=True):
    """A track of a shard.

    Attributes:
        track: number of the track in the batch.
        job: the track, with paths of the node.
        audio_seconds: length of the audio where memory grows with it, else 0.
        likely_seconds: length of the audio, estimated where it is unknown.
        stem_bytes: predicted size of its stems; 0 if unknown.
    """

    track: int
    job: Job
    audio_seconds: float
    likely_seconds: float
    stem_bytes: int = 0


class ShardTask(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The task of a shard: the first message that it receives.

    Attributes:
        version: version of stemsplit.
        settings: how tracks are separated.
        limits: memory, time and retries.
        jobs: number of children that run at once.
        output: the output folder, as a path of the node.
        deadline: in seconds since 1970; None for no deadline.
        progress_interval: minimum time between two progress messages of a track, in seconds.
        tracks: the first tracks.
    """

    version: str
    settings: Settings
    limits: Limits
    jobs: int
    output: bytes
    deadline: float | None
    progress_interval: float
    tracks: tuple[AssignedTrack, ...]


class ShardStarted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A node has started the shard.

    Attributes:
        node_id: id of the node in the cluster.
    """

    node_id: str


class ShardRefused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The node cannot run the shard; another node may."""

    message: str
    remedy: str


class WantsWork(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The shard can start more tracks now.

    Attributes:
        tracks: how many.
    """

    tracks: int


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The pool of the shard is running."""


class Launched(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface.Launched`."""

    track: int
    number: int
    resources: Resources
    ram_cap_bytes: int


class MessageReceived(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface.MessageReceived`."""

    track: int
    message: Message


class Retried(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface.Retried`."""

    track: int
    attempt: Attempt
    resources: Resources


class TrackEnded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface.TrackEnded`.

    Attributes:
        track: number of the track.
        outcome: its outcome, with paths of the node.
        is_source_missing: whether the node does not see the source.
    """

    track: int
    outcome: Outcome
    is_source_missing: bool = False


class Withdrawn(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface.Withdrawn`."""

    track: int


class MemorySampled(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface.MemorySampled`; `trees` by number of track."""

    total_bytes: int
    trees: dict[int, int]


class Noted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """See `stemsplit.supervisor.pool_interface.Noted`."""

    text: str


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request of a shard.

    Attributes:
        request_id: number of the request, which the reply repeats.
        track: number of the track.
    """

    request_id: int
    track: int


class AttemptBegins(_Request, frozen=True, kw_only=True, tag=True):
    """Asks to record the start of an attempt.

    Attributes:
        settings, resources, number: see `stemsplit.executors.track_task.AttemptRecorder`.
        staging_folder: path of the staging folder, relative to the output folder.
    """

    settings: Settings
    resources: Resources
    number: int
    staging_folder: bytes


class PublishBegins(_Request, frozen=True, kw_only=True, tag=True):
    """Asks to record the publication of stems.

    Attributes:
        pending: the files and their destinations.
        stems, audio_seconds, warnings: the child's result (`stemsplit.core.messages.Finished`).
    """

    pending: tuple[Stem, ...]
    stems: tuple[StemFile, ...]
    audio_seconds: float
    warnings: tuple[TrackWarning, ...] = ()


class PublishReverted(_Request, frozen=True, kw_only=True, tag=True):
    """Asks to record that publishing failed and that no stem is published."""


class ShardClosed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The pool of the shard has ended.

    Attributes:
        unstarted: tracks that it has not started.
        rejected: tracks that its gate has rejected.
    """

    unstarted: tuple[int, ...]
    rejected: tuple[int, ...]


RecorderRequest = AttemptBegins | PublishBegins | PublishReverted
"""Messages of a shard that the supervisor answers with a `Reply`."""

TrackEvent = Launched | MessageReceived | Retried | TrackEnded | Withdrawn
"""Messages of a shard about one of its tracks."""

ShardMessage = (
    RecorderRequest
    | TrackEvent
    | ShardStarted
    | ShardRefused
    | WantsWork
    | Heartbeat
    | MemorySampled
    | Noted
    | ShardClosed
)
"""Messages from a shard to the supervisor."""


class MoreTracks(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """More tracks for a shard."""

    tracks: tuple[AssignedTrack, ...]


class Close(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No more tracks will come: end when all tracks are done."""


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Start no more tracks."""


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Stop all children now."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The answer to a `RecorderRequest`.

    Attributes:
        request_id: number of the request.
        error: name of the error class that forbids it; empty if it is permitted.
        message, remedy: message and remedy of that error.
        will_be_completed: see `stemsplit.executors.track_task.AttemptRecorder.begin_publishing`.
    """

    request_id: int
    error: str = ""
    message: str = ""
    remedy: str = ""
    will_be_completed: bool = False


SupervisorMessage = ShardTask | MoreTracks | Close | Drain | Stop | Reply
"""Messages from the supervisor to a shard."""

_shard_messages: msgspec.msgpack.Decoder[ShardMessage] = msgspec.msgpack.Decoder(ShardMessage)
_supervisor_messages: msgspec.msgpack.Decoder[SupervisorMessage] = msgspec.msgpack.Decoder(
    SupervisorMessage
)

encode = msgspec.msgpack.encode

decode_shard_message = _shard_messages.decode
decode_supervisor_message = _supervisor_messages.decode
"""Each raises `msgspec.DecodeError` for an invalid message."""


def write_frame(stream: IO[bytes], data: bytes) -> None:
    """Write one message; raises `OSError` if the other side has closed the stream."""
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def read_frames(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield messages until the other side closes the stream."""
    while head := _read(stream, _LENGTH.size):
        data = _read(stream, _LENGTH.unpack(head)[0])
        if data is None:
            return
        yield data


def _read(stream: IO[bytes], count: int) -> bytes | None:
    """Read `count` bytes from a stream that may be unbuffered; None at its end."""
    parts: list[bytes] = []
    while count:
        part = stream.read(count)
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)

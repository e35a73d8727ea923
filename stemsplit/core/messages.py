"""Runs in both. The messages between the supervisor and a child.

A child receives one `Task` when it starts and answers with a stream of messages on its own pipe.
They are encoded as MessagePack, not pickled: the supervisor can reject invalid data from a broken
child, and decoding never runs code.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Protocol

import msgspec

from stemsplit.core.audio_info import AudioInfo
from stemsplit.core.job import Job
from stemsplit.core.limits import Resources
from stemsplit.core.outcome import Reason, StemFile, TrackWarning, WarningKind
from stemsplit.core.settings import Settings


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """The task of one child.

    Attributes:
        job: the track.
        settings: how to separate and write it.
        resources: threads and memory mode of this attempt.
        model_folder: verified folder of the model's weights; empty if none are needed.
        staging_folder: empty folder next to the destination, the only one the child writes to.
        log_file: file for the output of the child and its libraries.
        remote_staging: where the child uploads its files if the output is remote; else empty.
        nice: nice value of the child, 0 to 19.
    """

    job: Job
    settings: Settings
    resources: Resources
    model_folder: bytes
    staging_folder: bytes
    log_file: bytes
    remote_staging: bytes = b""
    nice: int = 0

    @property
    def publish_from(self) -> Path:
        """The folder whose files are published."""
        return Path(os.fsdecode(self.remote_staging or self.staging_folder))

    @property
    def model_path(self) -> Path:
        """`model_folder` as a path."""
        return Path(os.fsdecode(self.model_folder))

    @property
    def staging_path(self) -> Path:
        """`staging_folder` as a path."""
        return Path(os.fsdecode(self.staging_folder))

    @property
    def log_path(self) -> Path:
        """`log_file` as a path."""
        return Path(os.fsdecode(self.log_file))


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The child's program has started.

    Attributes:
        preloaded: whether the fork server had already loaded the engine's libraries.
    """

    preloaded: bool


class Started(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The child has opened the source and will now load the engine.

    Attributes:
        info: header of the source.
    """

    info: AudioInfo


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine is loaded; separation begins."""


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Duration of the audio separated and written so far, in seconds."""

    audio_seconds: float


class Transferring(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A download or upload of a remote file is in progress."""


class Separated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """All samples are computed; the files remain to be closed, flushed to disk and verified."""


class Warned(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A warning for the user; the track continues. See `TrackWarning`."""

    kind: WarningKind
    text: str


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """All stems are in the staging folder, verified and flushed to disk.

    Attributes:
        stems: one entry per file.
        audio_seconds: duration of the separated audio.
        peak_rss_bytes: see `stemsplit.core.outcome.Attempt`.
        warnings: all warnings that the child has sent, to record before publishing.
    """

    stems: tuple[StemFile, ...]
    audio_seconds: float
    peak_rss_bytes: int | None = None
    warnings: tuple[TrackWarning, ...] = ()


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The child failed for a known reason.

    Attributes:
        reason: reason to report.
        message: one sentence.
        remedy: what to do next; may be empty.
        traceback: for `--verbose`; empty where the message is enough.
        peak_rss_bytes: see `stemsplit.core.outcome.Attempt`.
    """

    reason: Reason
    message: str
    remedy: str = ""
    traceback: str = ""
    peak_rss_bytes: int | None = None


STOP = b"stop"
"""The only message that the supervisor sends to a child after its task: exit soon."""

Message = Hello | Transferring | Started | Ready | Progress | Separated | Warned | Finished | Failed

_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class SendsBytes(Protocol):
    """The half of `multiprocessing.connection.Connection` that a child uses."""

    def send_bytes(self, buf: bytes, /) -> None:
        """Send one complete message."""


def send(pipe: SendsBytes, message: Message) -> None:
    """Send `message`; raise `OSError` if the supervisor has exited."""
    pipe.send_bytes(msgspec.msgpack.encode(message))


def decode(data: bytes) -> Message:
    """Decode a message; raise `msgspec.DecodeError` if it is invalid."""
    return _decoder.decode(data)


def encode_task(task: Task) -> bytes:
    """Encode a task for a child."""
    return msgspec.msgpack.encode(task)


def decode_task(data: bytes) -> Task:
    """Decode a task."""
    return msgspec.msgpack.decode(data, type=Task)


class _LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """The attributes of a log record that are sent."""

    name: str
    levelno: int
    levelname: str
    msg: str
    created: float
    process: int | None
    threadName: str | None  # noqa: N815 - as in the record


def encode_record(record: logging.LogRecord) -> bytes:
    """Encode a log record; its text includes the traceback."""
    line = _LogLine(
        name=record.name,
        levelno=record.levelno,
        levelname=record.levelname,
        msg=record.getMessage(),
        created=record.created,
        process=record.process,
        threadName=record.threadName,
    )
    return msgspec.msgpack.encode(line)


def decode_record(data: bytes) -> logging.LogRecord:
    """Decode a log record; raise `msgspec.DecodeError` if it is invalid."""
    line: _LogLine = msgspec.msgpack.decode(data, type=_LogLine)
    return logging.makeLogRecord(msgspec.structs.asdict(line))

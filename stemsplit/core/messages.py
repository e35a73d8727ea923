"""Runs in both. Everything that crosses the border between the supervisor and a child.

A child gets one `Task` when it starts and answers with a stream of messages on a pipe of its own.
They travel as MessagePack rather than as pickles: what a broken child sends can be refused, but it
can never run code in the supervisor.
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
    """What one child is to do.

    Attributes:
        job: the track.
        settings: what is wanted.
        resources: how to go about it.
        model_folder: the verified folder of the model's weights; empty where none are needed.
        staging_folder: an empty folder beside the destination; the child writes only there.
        log_file: takes what the child and its libraries print.
        staging: where the child sends its finished files, for an output that is remote; else empty.
        nice: how much the child gives way to other programs, 0 to 19.
    """

    job: Job
    settings: Settings
    resources: Resources
    model_folder: bytes
    staging_folder: bytes
    log_file: bytes
    staging: bytes = b""
    nice: int = 0

    @property
    def shown_from(self) -> Path:
        """The folder whose files are published."""
        return Path(os.fsdecode(self.staging or self.staging_folder))

    @property
    def model_path(self) -> Path:
        """The folder of the model's weights."""
        return Path(os.fsdecode(self.model_folder))

    @property
    def staging_path(self) -> Path:
        """The folder that the child writes to."""
        return Path(os.fsdecode(self.staging_folder))

    @property
    def log_path(self) -> Path:
        """The file that takes what the child prints."""
        return Path(os.fsdecode(self.log_file))


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The child's program runs.

    Attributes:
        preloaded: whether the engine's libraries were in memory at birth, as a fork server
            with a working preload gives them.
    """

    preloaded: bool


class Started(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The child has opened the file and is about to load the engine.

    Attributes:
        info: the file's header.
    """

    info: AudioInfo


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine is loaded; what takes time from here on is the separation."""


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """So many seconds of the file have been separated and written."""

    audio_seconds: float


class Transferring(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A remote file is on its way, to this machine or from it."""


class Separated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """All is computed; what is left is to close the files, flush them to disk and check them."""


class Warned(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something a person should know although the track goes on; see `TrackWarning`."""

    kind: WarningKind
    text: str


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """All stems are in the work folder, checked and on disk.

    Attributes:
        stems: one entry a file.
        audio_seconds: how much audio was separated.
        peak_rss_bytes: see `stemsplit.core.outcome.Attempt`.
        warnings: all that the child has sent, to be recorded before its stems are published.
    """

    stems: tuple[StemFile, ...]
    audio_seconds: float
    peak_rss_bytes: int | None = None
    warnings: tuple[TrackWarning, ...] = ()


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The child gave up and knows why.

    Attributes:
        reason: as the supervisor will report it.
        message: one sentence.
        remedy: what to do next, may be empty.
        traceback: for `--verbose`, empty where the message says all.
        peak_rss_bytes: see `stemsplit.core.outcome.Attempt`.
    """

    reason: Reason
    message: str
    remedy: str = ""
    traceback: str = ""
    peak_rss_bytes: int | None = None


STOP = b"stop"
"""The one thing that a supervisor says to a child after its task: end soon, of your own accord."""

Message = Hello | Transferring | Started | Ready | Progress | Separated | Warned | Finished | Failed

_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class SendsBytes(Protocol):
    """The half of `multiprocessing.connection.Connection` that a child uses."""

    def send_bytes(self, buf: bytes, /) -> None:
        """Send one message whole."""


def send(pipe: SendsBytes, message: Message) -> None:
    """Send `message`; raises `OSError` when the supervisor is gone."""
    pipe.send_bytes(msgspec.msgpack.encode(message))


def decode(data: bytes) -> Message:
    """Read a message back; raises `msgspec.DecodeError` on anything else."""
    return _decoder.decode(data)


def encode_task(task: Task) -> bytes:
    """Pack a task for the trip into a child."""
    return msgspec.msgpack.encode(task)


def decode_task(data: bytes) -> Task:
    """Unpack it there."""
    return msgspec.msgpack.decode(data, type=Task)


class _LogLine(msgspec.Struct, frozen=True, kw_only=True):
    logger: str
    level: int
    level_name: str
    text: str
    created: float
    process: int | None
    thread: str | None


def encode_record(record: logging.LogRecord) -> bytes:
    """Pack what a child logs; its traceback, if it has one, is part of the text."""
    line = _LogLine(
        logger=record.name,
        level=record.levelno,
        level_name=record.levelname,
        text=record.getMessage(),
        created=record.created,
        process=record.process,
        thread=record.threadName,
    )
    return msgspec.msgpack.encode(line)


def decode_record(data: bytes) -> logging.LogRecord:
    """Unpack it in the supervisor; raises `msgspec.DecodeError` on anything else."""
    line: _LogLine = msgspec.msgpack.decode(data, type=_LogLine)
    return logging.makeLogRecord(
        {
            "name": line.logger,
            "levelno": line.level,
            "levelname": line.level_name,
            "msg": line.text,
            "created": line.created,
            "process": line.process,
            "threadName": line.thread,
        }
    )

"""Runs in both. Everything that crosses the border between the supervisor and a child.

A child gets one `Task` when it starts and answers with a stream of messages on a pipe of its own.
They travel as MessagePack rather than as pickles: what a broken child sends can be refused, but it
can never run code in the supervisor.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import msgspec

from stemsplit.job import AudioInfo, Job, Reason, Settings, StemFile


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What one child is to do.

    Attributes:
        job: the track.
        settings: how.
        model_folder: the verified folder of the model's weights.
        work_folder: an empty folder beside the destination; the child writes only there.
        log_file: takes what the child and its libraries print.
    """

    job: Job
    settings: Settings
    model_folder: bytes
    work_folder: bytes
    log_file: bytes

    @property
    def model_path(self) -> Path:
        """The folder of the model's weights."""
        return Path(os.fsdecode(self.model_folder))

    @property
    def work_path(self) -> Path:
        """The folder that the child writes to."""
        return Path(os.fsdecode(self.work_folder))

    @property
    def log_path(self) -> Path:
        """The file that takes what the child prints."""
        return Path(os.fsdecode(self.log_file))


class Started(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The child has opened the file and is about to load the engine.

    Attributes:
        info: the file's header.
        preloaded: whether the engine's libraries were in memory at birth, as a fork server
            with a working preload gives them.
    """

    info: AudioInfo
    preloaded: bool


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """So many seconds of the file have been separated and written."""

    audio_seconds: float


class Warned(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something a person should know although the track goes on."""

    text: str


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """All stems are in the work folder, checked and on disk."""

    stems: tuple[StemFile, ...]
    audio_seconds: float


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The child gave up and knows why.

    Attributes:
        reason: as the supervisor will report it.
        message: one sentence.
        remedy: what to do next, may be empty.
        traceback: for `--verbose`, empty where the message says all.
    """

    reason: Reason
    message: str
    remedy: str = ""
    traceback: str = ""


Message = Started | Progress | Warned | Finished | Failed

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

"""Runs in both. The frozen vocabulary: what is to be done, and how it ended.

Holds no behaviour beyond what a value can say of itself, and touches no file.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Literal

import msgspec

from stemsplit.errors import (
    BadInputError,
    DiskFullError,
    EngineError,
    StemsplitError,
    UnwritableError,
)

MODEL_SAMPLE_RATE = 44_100
"""The one sample rate that Spleeter's models were trained at, in Hz; stems have it too."""

STEREO = 2
"""Channels that Spleeter's models take and give."""

StemFormat = Literal["wav", "flac"]
BitDepth = Literal["16", "24", "32f"]


class Reason(StrEnum):
    """Why an attempt at a track ended (docs/errors.md has a section for each)."""

    DONE = "done"
    BAD_INPUT = "bad_input"
    OUTPUT_EXISTS = "output_exists"
    CRASHED = "crashed"
    NO_RESULT = "no_result"
    DISK_FULL = "disk_full"
    UNWRITABLE = "unwritable"
    ENGINE_UNAVAILABLE = "engine_unavailable"

    @property
    def stops_batch(self) -> bool:
        """Whether every further track is likely to end in the same way."""
        return self in {Reason.DISK_FULL, Reason.UNWRITABLE, Reason.ENGINE_UNAVAILABLE}

    @classmethod
    def of(cls, error: StemsplitError) -> Reason:
        """Give the reason that an error is told under; `crashed` for what nobody foresaw."""
        return {
            BadInputError: cls.BAD_INPUT,
            DiskFullError: cls.DISK_FULL,
            UnwritableError: cls.UNWRITABLE,
            EngineError: cls.ENGINE_UNAVAILABLE,
        }.get(type(error), cls.CRASHED)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the tracks of a batch are separated and written.

    Attributes:
        model: a name of the catalogue, as `stemsplit models list` shows it.
        format: the container of the stems.
        bit_depth: bits a sample; `32f` is 32-bit floating point and goes with `wav` alone.
        threads: how many threads the network may use in one child, at least 1; None shares the
            processors among the children that run at once.
        engine: `module:function` that builds the engine inside the child.
    """

    model: str = "2stems"
    format: StemFormat = "wav"
    bit_depth: BitDepth = "24"
    threads: int | None = None
    engine: str = "stemsplit.child.engines.tensorflow:load"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One track with the place of its stems.

    Paths are kept as the bytes the file system has, because a name need not be valid UTF-8.

    Attributes:
        source: the audio file.
        destination: the folder that will hold one file a stem.
        stems: the stems to expect, in the model's order.
    """

    source: bytes
    destination: bytes
    stems: tuple[str, ...]

    @classmethod
    def of(cls, source: Path, destination: Path, stems: tuple[str, ...]) -> Job:
        """Build a job from ordinary paths."""
        return cls(source=os.fsencode(source), destination=os.fsencode(destination), stems=stems)

    @property
    def source_path(self) -> Path:
        """The audio file."""
        return Path(os.fsdecode(self.source))

    @property
    def destination_path(self) -> Path:
        """The folder for the stems."""
        return Path(os.fsdecode(self.destination))


class AudioInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the header of an audio file declares.

    Attributes:
        format: container, in libsndfile's words (`WAV`, `FLAC`, `OGG`, ...).
        subtype: sample encoding, likewise (`PCM_16`, `VORBIS`, ...).
        sample_rate: in Hz.
        channels: 1 or more.
        frames: samples a channel; a file that is cut off may hold fewer. None where the header
            does not say, or says what cannot be.
    """

    format: str
    subtype: str
    sample_rate: int
    channels: int
    frames: int | None

    @property
    def seconds(self) -> float | None:
        """Duration, None where it is not known."""
        return None if self.frames is None else self.frames / self.sample_rate


class StemFile(msgspec.Struct, frozen=True, kw_only=True):
    """One finished stem.

    Attributes:
        stem: `vocals`, `drums`, ...
        file_name: its file, inside the track's folder.
        frames: samples a channel at `MODEL_SAMPLE_RATE`.
        peak: the largest absolute sample before it was written, 1.0 being full scale.
        clipped_samples: how many samples were beyond full scale and were clamped to it.
    """

    stem: str
    file_name: str
    frames: int
    peak: float
    clipped_samples: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a track ended.

    Attributes:
        job: what was asked for.
        reason: why the attempt ended.
        message: one sentence, empty when done.
        remedy: what to do next, empty when done.
        warnings: sentences a person should read although the track is done.
        stems: the finished stems; empty unless done.
        seconds: wall time from the child's start to the published folder.
        audio_seconds: how much audio was separated.
        peak_pss_bytes: the largest sampled memory of the whole process tree meanwhile, None where
            it could not be read.
        exit_code: the child's, negative for a signal, None where no child ran.
        detail: the child's traceback or its last words on standard error, for `--verbose`.
    """

    job: Job
    reason: Reason
    message: str = ""
    remedy: str = ""
    warnings: tuple[str, ...] = ()
    stems: tuple[StemFile, ...] = ()
    seconds: float = 0.0
    audio_seconds: float = 0.0
    peak_pss_bytes: int | None = None
    exit_code: int | None = None
    detail: str = ""

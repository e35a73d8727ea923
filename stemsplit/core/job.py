"""Runs in both. The frozen vocabulary: what is to be done, and how it ended.

Holds no behaviour beyond what a value can say of itself, and touches no file.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from stemsplit.core.compat import StrEnum
from stemsplit.core.errors import (
    BadInputError,
    DamagedError,
    DiskFullError,
    EngineError,
    InsufficientMemoryError,
    OutputExistsError,
    StemsplitError,
    StoppedError,
    UnreachableError,
    UnwritableError,
    UsageError,
)
from stemsplit.core.time_series import Curve
from stemsplit.core.units import Amount, TimeLimit, parse_duration, parse_size, parse_time_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MODEL_SAMPLE_RATE = 44_100
"""The one sample rate that Spleeter's models were trained at, in Hz."""

STEREO = 2
"""Channels that Spleeter's models take and give."""

StemFormat = Literal["wav", "flac", "mp3", "ogg", "opus", "m4a"]

BitDepth = Literal["16", "24", "32f", "source"]
PcmDepth = Literal["16", "24", "32f"]
"""What a bit depth comes to once the source is known."""

SampleRate = int | Literal["source"]
Clip = Literal["clamp", "rescale", "none"]
HighBand = Literal["zeros", "average"]

What = Literal["separation", "conversion"]

CONVERTED = "converted"
"""Stands for a stem where a track is converted and not separated."""

RESIDUAL = "residual"
"""The name of what the stems leave of the mix."""

Order = Literal["given", "path", "shortest", "newest"]
OnBattery = Literal["run", "pause"]

MOST_FRAMES_A_BYTE = 1000
"""More than any codec packs into a byte, digital silence apart."""

_BYTES_A_SAMPLE = {"16": 2, "24": 3, "32f": 4}


def pcm_bytes(frames: int, channels: int, bit_depth: PcmDepth) -> int:
    """Size of uncompressed samples in bytes, without a header."""
    return frames * channels * _BYTES_A_SAMPLE[bit_depth]


class Reason(StrEnum):
    """Why an attempt at a track ended (docs/errors.md has a section for each)."""

    DONE = "done"
    BAD_INPUT = "bad_input"
    DAMAGED = "damaged"
    OUTPUT_EXISTS = "output_exists"
    CRASHED = "crashed"
    NO_RESULT = "no_result"
    OVER_RAM_CAP = "over_ram_cap"
    KILLED_BY_KERNEL = "killed_by_kernel"
    EVICTED = "evicted"
    NO_MEMORY = "no_memory"
    TOO_LARGE = "too_large"
    STALLED = "stalled"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    DISK_FULL = "disk_full"
    UNWRITABLE = "unwritable"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    NODE_LOST = "node_lost"
    UNREACHABLE = "unreachable"

    @property
    def stops_batch(self) -> bool:
        """Whether every further track is likely to end in the same way."""
        return self in {
            Reason.DISK_FULL,
            Reason.UNWRITABLE,
            Reason.ENGINE_UNAVAILABLE,
            Reason.NO_MEMORY,
        }

    @classmethod
    def of(cls, error: StemsplitError) -> Reason:
        """Give the reason that an error is told under; `crashed` for what nobody foresaw."""
        return {
            BadInputError: cls.BAD_INPUT,
            DamagedError: cls.DAMAGED,
            OutputExistsError: cls.OUTPUT_EXISTS,
            DiskFullError: cls.DISK_FULL,
            UnwritableError: cls.UNWRITABLE,
            EngineError: cls.ENGINE_UNAVAILABLE,
            InsufficientMemoryError: cls.NO_MEMORY,
            StoppedError: cls.CANCELLED,
            UnreachableError: cls.UNREACHABLE,
        }.get(type(error), cls.CRASHED)


class WarningKind(StrEnum):
    """What a warning about a track is about.

    DAMAGED: part of the source is missing or was replaced by silence. CLIPPED: samples beyond full
    scale were clamped. NOTE: anything else.
    """

    DAMAGED = "damaged"
    CLIPPED = "clipped"
    NOTE = "note"


class TrackWarning(msgspec.Struct, frozen=True, kw_only=True):
    """Something a person should know about a track.

    Attributes:
        kind: what it is about.
        text: one sentence.
    """

    kind: WarningKind
    text: str

    def __str__(self) -> str:
        """Return the sentence."""
        return self.text


def count_kinds(tracks: Iterable[Iterable[TrackWarning]]) -> Counter[WarningKind]:
    """Count the tracks that have a warning of each kind.

    Args:
        tracks: the warnings of each track.
    """
    return Counter(kind for warnings in tracks for kind in {one.kind for one in warnings})


AUTOMATIC = "auto"

LOADERS = {
    "tensorflow": "stemsplit.child.engines.tensorflow:load",
    "onnx": "stemsplit.child.engines.onnx:load",
}
"""Engines by their names, each with the `module:function` that builds it inside the child."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the tracks of a batch are separated, or only converted, and written.

    Attributes:
        what: is done with them. A conversion changes no more than format, bit depth, sample rate
            and extent.
        model: a name of the catalogue, as `stemsplit models list` shows it.
        stems: which of the model's stems are written, in its order; None is all of them.
        residual: whether what the written stems leave of the mix is written as well.
        high_band: what the stems hold above the frequencies that the model looks at: nothing, or
            a share of the mix by the average mask.
        mwf: whether Spleeter's multichannel Wiener filter works on the whole file, in memory that
            grows with its length.
        start_seconds: where in the source to begin, 0 or more.
        duration_seconds: how much of it to take, more than 0; None is all the rest.
        format: the container of the stems.
        bit_depth: bits a sample of `wav` and `flac`; `32f` is 32-bit floating point and goes with
            `wav` alone, `source` is as many as the source has.
        sample_rate: of the stems, in Hz, or that of the source. The model always works at
            `MODEL_SAMPLE_RATE`.
        bit_rate: of the lossy formats, in bits a second; None is each one's own.
        clip: what becomes of samples beyond full scale: they are clamped, the stems of a track are
            made quieter together, or they are kept, as `32f` can. None clamps, but keeps with
            `32f`.
        threads: how many threads the network may use in one child, at least 1; None shares the
            processors among the children that run at once. A retry may use fewer.
        tags: whether the stems get the tags and the cover of the source.
        engine: what runs the network: `tensorflow`, `onnx`, or `auto` for the first of them that
            is installed. Or `module:function` that builds one inside the child.
        audio_track: which audio track of a film is taken, by its number from 1 or its language;
            None is the one that the file calls its default, or its first. Of files with one track
            that one is taken in any case.
        accept_damaged: whether what is there of a damaged file is written, with a warning, however
            much of it is lost. Otherwise a track that lost more than 5 % fails with the reason
            `damaged`.
    """

    what: What = "separation"
    model: str = "2stems"
    stems: tuple[str, ...] | None = None
    residual: bool = False
    high_band: HighBand = "zeros"
    mwf: bool = False
    start_seconds: float = 0.0
    duration_seconds: float | None = None
    format: StemFormat = "wav"
    bit_depth: BitDepth = "24"
    sample_rate: SampleRate = MODEL_SAMPLE_RATE
    bit_rate: int | None = None
    clip: Clip | None = None
    threads: int | None = None
    tags: bool = True
    engine: str = AUTOMATIC
    accept_damaged: bool = False
    audio_track: str | None = None

    @property
    def separates(self) -> bool:
        """Whether tracks are separated, and not only converted."""
        return self.what == "separation"

    @property
    def loader(self) -> str:
        """`module:function` that loads what separates, if anything does."""
        if not self.separates:
            return ""
        return _WHOLE_FILE_LOADER if self.mwf else LOADERS.get(self.engine, self.engine)

    def seconds_of(self, source_seconds: float) -> float:
        """Give how much is taken of a source that is so long."""
        rest = max(source_seconds - self.start_seconds, 0.0)
        return rest if self.duration_seconds is None else min(rest, self.duration_seconds)


_WHOLE_FILE_LOADER = "stemsplit.child.engines.spleeter:load_whole_file"
"""What `mwf` needs: the Wiener filter is Spleeter's."""

LEAST_PRIORITY = 19
"""The nicest that a process can be (nice(1))."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch may use, and how long a child may take; docs/memory.md has the ladder.

    Attributes:
        max_ram: the budget of all processes together, as the sum of their PSS; a share is one of
            the memory that this process can have now. None is 60 %.
        max_ram_per_file: the cap of one child with all that it started; None is half again what
            the model is expected to take.
        min_free: what is left free for other programs; a share is one of the machine's memory.
            None is 10 %, and at least 512 MiB.
        timeout: the longest that one child may take; None sets no limit.
        stall_seconds: the longest that a child may go without progress, more than 0. A third of
            it is how long it may use neither processor nor disk.
        retries: how often a track is tried again for each kind of failure, 0 or more.
        nice: how much the children give way to other programs, from 0 to 19 (nice(1)).
    """

    max_ram: Amount | None = None
    max_ram_per_file: Amount | None = None
    min_free: Amount | None = None
    timeout: TimeLimit | None = None
    stall_seconds: float = 120.0
    retries: int = 2
    nice: int = 0

    @classmethod
    def parse(
        cls,
        *,
        max_ram: str | float | None = None,
        max_ram_per_file: str | float | None = None,
        min_free: str | float | None = None,
        timeout: str | float | None = None,
        stall_timeout: str | float | None = None,
        retries: int = 2,
        nice: int = 0,
    ) -> Limits:
        """Read limits as a person writes them: `4GiB`, `60%`, `90s`, `4x`.

        Args:
            max_ram: a size or percentage.
            max_ram_per_file: a size or percentage.
            min_free: a size or percentage.
            timeout: a duration, or a multiple of the expected time.
            stall_timeout: a duration.
            retries: 0 or more.
            nice: 0 to 19.

        Raises:
            UsageError: with the value and what to write instead.
        """
        if retries < 0:
            raise UsageError(f"retries must be 0 or more, not {retries}.")
        if not 0 <= nice <= LEAST_PRIORITY:
            raise UsageError(f"nice must be 0 to {LEAST_PRIORITY}, not {nice}.")

        def size(text: str | float | None, what: str) -> Amount | None:
            return None if text is None else parse_size(text, what)

        return cls(
            max_ram=size(max_ram, "max-ram"),
            max_ram_per_file=size(max_ram_per_file, "max-ram-per-file"),
            min_free=size(min_free, "min-free"),
            timeout=None if timeout is None else parse_time_limit(timeout, "timeout"),
            stall_seconds=(
                120.0 if stall_timeout is None else parse_duration(stall_timeout, "stall-timeout")
            ),
            retries=retries,
            nice=nice,
        )


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt at a track goes about it; a retry changes this.

    Attributes:
        threads: of the network, at least 1.
        lean: one instrument's U-Net in memory at a time. The result is the same.
        alone: no other child runs meanwhile.
    """

    threads: int = 1
    lean: bool = False
    alone: bool = False

    def __str__(self) -> str:
        """Give it in words."""
        words = [f"{self.threads} thread{'' if self.threads == 1 else 's'}"]
        words += ["one instrument at a time"] if self.lean else []
        words += ["alone"] if self.alone else []
        return ", ".join(words)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One track with the places of its stems.

    Paths are kept as the bytes the file system has, because a name need not be valid UTF-8.

    Attributes:
        source: the audio file.
        destination: the innermost folder that will hold all of the stems.
        stems: the stems to expect, in the model's order.
        files: the file of each stem, below `destination`.
        anchor: what the job is known by, from `destination`: the place of the model's first stem,
            whether it is written or not.
    """

    source: bytes
    destination: bytes
    stems: tuple[str, ...]
    files: tuple[bytes, ...]
    anchor: bytes

    @classmethod
    def of(cls, source: Path, files: Mapping[str, Path], anchor: Path | None = None) -> Job:
        """Build a job from ordinary paths.

        Args:
            source: the audio file.
            files: where each stem will be, in the model's order.
            anchor: the place of the model's first stem; the first of `files` if not given.
        """
        paths = [os.fsencode(path) for path in files.values()]
        destination = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 - bytes
        return cls(
            source=os.fsencode(source),
            destination=destination,
            stems=tuple(files),
            files=tuple(os.path.relpath(path, destination) for path in paths),
            anchor=os.path.relpath(
                paths[0] if anchor is None else os.fsencode(anchor), destination
            ),
        )

    @property
    def paths(self) -> dict[str, Path]:
        """Where each stem will be."""
        folder = self.destination_path
        names = (os.fsdecode(name) for name in self.files)
        return {stem: folder / name for stem, name in zip(self.stems, names, strict=True)}

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
        format: container, in the words of the library that reads it (`WAV`, `OGG`, `MOV`, ...).
        subtype: sample encoding, likewise (`PCM_16`, `VORBIS`, `AAC`, ...).
        sample_rate: in Hz.
        channels: 1 or more.
        bits: of a sample of integers, or 32 or 64 of floating point; None for a lossy encoding,
            which has none.
        floating: whether samples are floating point.
        frames: samples a channel; a file that is cut off may hold fewer. None where the header
            does not say, or says what cannot be.
    """

    format: str
    subtype: str
    sample_rate: int
    channels: int
    frames: int | None
    bits: int | None = None
    floating: bool = False

    @property
    def seconds(self) -> float | None:
        """Duration, None where it is not known."""
        return None if self.frames is None else self.frames / self.sample_rate


class StemFile(msgspec.Struct, frozen=True, kw_only=True):
    """One finished stem.

    Attributes:
        stem: `vocals`, `drums`, ...
        file_name: its file in the child's work folder; `Job.paths` tells where it is published.
        frames: samples a channel.
        peak: the largest absolute sample before it was written, 1.0 being full scale.
        clipped_samples: how many samples were beyond full scale and were clamped to it.
        sample_rate: in Hz.
        gain: by which it was made quieter, 1.0 if it was not.
        outline: the peak of each of some hundred equal parts, 255 being full scale; for drawing.
    """

    stem: str
    file_name: str
    frames: int
    peak: float
    clipped_samples: int
    sample_rate: int = MODEL_SAMPLE_RATE
    gain: float = 1.0
    outline: bytes = b""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One child process for a track, from its start to its end.

    Attributes:
        number: 1 for the first.
        effort: how it went about it.
        reason: why it ended.
        message: one sentence, empty when done.
        remedy: what to do next, may be empty.
        traceback: the child's own, if it raised something.
        log_tail: the last lines of what it printed and logged.
        story: what happened, each line with the seconds since the child was started.
        seconds: wall time from the child's start to its end.
        exit_code: the child's, negative for a signal; None where no child ran.
        peak_pss_bytes: the largest sampled memory of the child and of all that it started, each
            page divided by the number of processes that share it; None if never read.
        private_bytes: the largest sampled memory that the child shared with no other process;
            None if never read.
        peak_rss_bytes: the largest memory of the child itself with all shared pages, since its
            own start, as the kernel counted it; None where the child could not say.
        log_file: holds what it printed and logged; None where it is not kept.
        ram_cap_bytes: what it was allowed of memory; None where no child ran.
        memory: the largest sampled memory in each step of time since its start, in bytes.
        node: of a cluster, on which it ran; empty for this machine.
    """

    number: int
    effort: Effort
    reason: Reason
    message: str = ""
    remedy: str = ""
    traceback: str = ""
    log_tail: str = ""
    story: tuple[str, ...] = ()
    seconds: float = 0.0
    exit_code: int | None = None
    peak_pss_bytes: int | None = None
    private_bytes: int | None = None
    peak_rss_bytes: int | None = None
    log_file: str | None = None
    ram_cap_bytes: int | None = None
    memory: Curve | None = None
    node: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a track ended.

    Attributes:
        job: what was asked for.
        reason: why the last attempt ended.
        message: one sentence, empty when done.
        remedy: what to do next, empty when done.
        warnings: what a person should know although the track is done, or beside its failure.
        stems: the finished stems; empty unless done.
        audio_seconds: how much audio was separated.
        attempts: one entry a child, in order; empty where none was started.
    """

    job: Job
    reason: Reason
    message: str = ""
    remedy: str = ""
    warnings: tuple[TrackWarning, ...] = ()
    stems: tuple[StemFile, ...] = ()
    audio_seconds: float = 0.0
    attempts: tuple[Attempt, ...] = ()

    @property
    def last_attempt(self) -> Attempt | None:
        """The child that settled it, None where none was started."""
        return self.attempts[-1] if self.attempts else None

    @property
    def seconds(self) -> float:
        """Wall time of the last attempt, 0 where none was made."""
        return self.attempts[-1].seconds if self.attempts else 0.0

    @property
    def peak_pss_bytes(self) -> int | None:
        """The largest sampled memory of any attempt; None if never read."""
        peaks = [one.peak_pss_bytes for one in self.attempts if one.peak_pss_bytes is not None]
        return max(peaks, default=None)

"""Runs in both. How attempts and tracks ended: reasons, warnings, finished stems."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

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
)
from stemsplit.core.job import Job
from stemsplit.core.limits import Resources
from stemsplit.core.settings import MODEL_SAMPLE_RATE
from stemsplit.core.time_series import TimeSeries

if TYPE_CHECKING:
    from collections.abc import Iterable


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
        waveform_overview: the peak of each of some hundred equal parts, 255 being full scale; for
            drawing.
    """

    stem: str
    file_name: str
    frames: int
    peak: float
    clipped_samples: int
    sample_rate: int = MODEL_SAMPLE_RATE
    gain: float = 1.0
    waveform_overview: bytes = b""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One child process for a track, from its start to its end.

    Attributes:
        number: 1 for the first.
        resources: how it went about it.
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
    resources: Resources
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
    memory: TimeSeries | None = None
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

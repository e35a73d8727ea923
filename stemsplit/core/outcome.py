"""Runs in both. How attempts and tracks ended: reasons, warnings, finished stems."""

from __future__ import annotations

import warnings
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
        """Whether all further tracks would most likely fail for the same reason."""
        return self in {
            Reason.DISK_FULL,
            Reason.UNWRITABLE,
            Reason.ENGINE_UNAVAILABLE,
            Reason.NO_MEMORY,
        }

    @classmethod
    def of(cls, error: StemsplitError) -> Reason:
        """Return the reason that corresponds to an error; `crashed` for any other error."""
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
    """Kind of a warning about a track.

    DAMAGED: part of the source is missing or was replaced with silence. CLIPPED: samples beyond
    full scale were clamped. NOTE: anything else.
    """

    DAMAGED = "damaged"
    CLIPPED = "clipped"
    NOTE = "note"


class TrackWarning(msgspec.Struct, frozen=True, kw_only=True):
    """A warning about a track, for the user.

    Attributes:
        kind: kind of the warning.
        text: one sentence.
    """

    kind: WarningKind
    text: str

    def __str__(self) -> str:
        return self.text


def count_kinds(tracks: Iterable[Iterable[TrackWarning]]) -> Counter[WarningKind]:
    """Count the tracks that have at least one warning of each kind."""
    return Counter(kind for warnings in tracks for kind in {item.kind for item in warnings})


def _warn_renamed(old: str, new: str) -> None:
    """Emit a `DeprecationWarning` at the caller of the property."""
    warnings.warn(f"{old} is deprecated, use {new}", DeprecationWarning, stacklevel=3)


class StemFile(msgspec.Struct, frozen=True, kw_only=True):
    """One finished stem.

    Attributes:
        stem: `vocals`, `drums`, ...
        file_name: its file in the staging folder; `Job.paths` has the published path.
        frames: samples per channel.
        peak: largest absolute sample before quantisation; 1.0 is full scale.
        clipped_samples: number of samples beyond full scale that were clamped.
        sample_rate: in Hz.
        gain: factor applied by `rescale`; 1.0 for none.
        waveform_overview: peaks of some hundred equal parts, one byte each; 255 is full scale.
    """

    stem: str
    file_name: str
    frames: int
    peak: float
    clipped_samples: int
    sample_rate: int = MODEL_SAMPLE_RATE
    gain: float = 1.0
    waveform_overview: bytes = b""

    @property
    def outline(self) -> bytes:
        """Deprecated name of `waveform_overview`."""
        _warn_renamed("StemFile.outline", "StemFile.waveform_overview")
        return self.waveform_overview


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a track: one child process.

    Attributes:
        number: 1 for the first attempt.
        resources: threads and memory mode of the attempt.
        reason: why the attempt ended.
        message: one sentence, empty when done.
        remedy: what to do next; may be empty.
        traceback: traceback of an exception in the child; may be empty.
        log_tail: last lines that the child printed or logged.
        story: events of the attempt, each with the seconds since the start of the child.
        seconds: wall time of the child.
        exit_code: exit code of the child, negative for a signal; None if no child ran.
        peak_pss_bytes: largest sampled PSS of the child and its descendants; None if never
            sampled.
        private_bytes: largest sampled memory that the child shared with no other process; None if
            never sampled.
        peak_rss_bytes: largest RSS of the child since its start, as counted by the kernel; None
            if unknown.
        log_file: path of the attempt's log; None if it was not kept.
        ram_cap_bytes: memory cap of the child; None if no child ran.
        memory: largest sampled memory in bytes over time, in seconds since the start.
        node: cluster node of the attempt; empty for this machine.
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

    @property
    def effort(self) -> Resources:
        """Deprecated name of `resources`."""
        _warn_renamed("Attempt.effort", "Attempt.resources")
        return self.resources


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a track ended.

    Attributes:
        job: the track.
        reason: why the last attempt ended.
        message: one sentence, empty when done.
        remedy: what to do next, empty when done.
        warnings: warnings for the user, of a finished or failed track.
        stems: finished stems; empty unless done.
        audio_seconds: duration of the separated audio.
        attempts: attempts in order; empty if no child was started.
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
        """The attempt that ended the track; None if no child was started."""
        return self.attempts[-1] if self.attempts else None

    @property
    def seconds(self) -> float:
        """Wall time of the last attempt; 0 if there was none."""
        return self.attempts[-1].seconds if self.attempts else 0.0

    @property
    def peak_pss_bytes(self) -> int | None:
        """Largest sampled memory of any attempt; None if never sampled."""
        peaks = (attempt.peak_pss_bytes for attempt in self.attempts)
        return max((peak for peak in peaks if peak is not None), default=None)

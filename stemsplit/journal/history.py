"""Runs in the supervisor. The records of all runs of an output folder, for `stemsplit report`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.outcome import count_kinds
from stemsplit.journal.job_records import JobState
from stemsplit.models.engines import name_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping
    from pathlib import Path

    from stemsplit.core.outcome import TrackWarning, WarningKind
    from stemsplit.core.time_series import TimeSeries


class PastSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a run that the report shows; see `stemsplit.core.settings.Settings`."""

    what: str = "separation"
    model: str | None = None
    format: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One run of the command.

    Attributes:
        number: number of the run, from 1.
        began, ended: in seconds since 1970; `ended` is None if the run is active or was killed.
        version: version of stemsplit.
        settings: the settings that the report shows.
        exit_code: exit code; None as `ended`.
        seconds: wall time; None as `ended`.
        audio_seconds: duration of the audio separated in it; None as `ended`.
        peak_memory_bytes: peak memory of all processes together; None if unknown.
        max_ram_bytes: the memory budget; None if no child was started.
        memory: memory of all processes in bytes, by seconds since the run began.
        refused: source, reason and message of each input that is not a track.
    """

    number: int
    began: float
    ended: float | None
    version: str
    settings: PastSettings
    exit_code: int | None
    seconds: float | None
    audio_seconds: float | None
    peak_memory_bytes: int | None
    max_ram_bytes: int | None
    memory: TimeSeries | None
    refused: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastStem:
    """A published file, which may have been moved since.

    Attributes:
        path: path below the output folder.
        stem: name of the stem; name of its file if unknown.
        waveform_overview: see `stemsplit.core.outcome.StemFile`; empty if unknown.
    """

    path: bytes
    stem: str
    waveform_overview: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """One attempt; see the table `attempts` and `stemsplit.core.outcome.Attempt`.

    Attributes:
        id: id of the attempt in the journal.
        run: number of its run.
        engine: loader of its engine, which `stemsplit.models.engines.name_of` names; empty for a
            conversion.
    """

    id: int
    run: int
    number: int
    began: float
    engine: str
    reason: str | None
    message: str
    seconds: float | None
    peak_pss_bytes: int | None
    ram_cap_bytes: int | None
    memory: TimeSeries | None
    log_file: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTrack:
    """A track as the last run with it left it.

    Attributes:
        source: the audio file, absolute.
        run: number of the last run with this track.
        state: progress of its job.
        reason, message, remedy: of its last outcome.
        warnings: warnings of that outcome.
        audio_seconds: duration as separated, or else as predicted; None if unknown.
        stems: stems in the model's order.
        attempts: attempts in chronological order.
    """

    source: bytes
    run: int
    state: JobState
    reason: str | None
    message: str
    remedy: str
    warnings: tuple[TrackWarning, ...]
    audio_seconds: float | None
    stems: tuple[PastStem, ...]
    attempts: tuple[PastAttempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All records of an output folder.

    Attributes:
        output: the folder for all stems.
        runs: runs in chronological order, at least one.
        tracks: tracks sorted by source.
    """

    output: Path
    runs: tuple[PastRun, ...]
    tracks: tuple[PastTrack, ...]

    @property
    def refused(self) -> tuple[tuple[str, str, str], ...]:
        """Source, reason and message of each input of the last run that is not a track."""
        return self.runs[-1].refused

    def engines(self) -> Mapping[int, tuple[str, ...]]:
        """Return the names of the engines of each run, by its number; empty for other numbers."""
        loaders: defaultdict[int, set[str]] = defaultdict(set)
        for track in self.tracks:
            for attempt in track.attempts:
                loaders[attempt.run] |= {attempt.engine} - {""}
        names = {run: tuple(sorted(map(name_of, found))) for run, found in loaders.items()}
        return defaultdict(tuple, names)

    @property
    def warned(self) -> Counter[WarningKind]:
        """Number of done tracks with a warning of each kind."""
        done = (track for track in self.tracks if track.state is JobState.DONE)
        return count_kinds(track.warnings for track in done)

    @property
    def failed(self) -> tuple[PastTrack, ...]:
        """The tracks that failed, in any run."""
        return tuple(track for track in self.tracks if track.state is JobState.FAILED)

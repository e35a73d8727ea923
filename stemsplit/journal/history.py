"""Runs in the supervisor. All that a journal knows, for `stemsplit report`."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from stemsplit.core.errors import UsageError
from stemsplit.core.outcome import count_kinds
from stemsplit.core.text import printable, quoted
from stemsplit.core.time_series import TimeSeries
from stemsplit.core.units import Count, Moment, Seconds
from stemsplit.journal.database import Database
from stemsplit.journal.layout import OutputLayout
from stemsplit.journal.lock import nothing_there
from stemsplit.journal.records import JobState, refused_of, warnings_of
from stemsplit.models.engines import name_of
from stemsplit.storage.untrusted import require_inside

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from stemsplit.core.outcome import TrackWarning, WarningKind

_curve: msgspec.json.Decoder[TimeSeries] = msgspec.json.Decoder(TimeSeries)


class PastSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a run's settings; see `stemsplit.core.settings.Settings`."""

    what: str = "separation"
    model: str | None = None
    format: str | None = None


_settings: msgspec.json.Decoder[PastSettings] = msgspec.json.Decoder(PastSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One run of the command.

    Attributes:
        number: from 1.
        began, ended: in seconds since 1970; `ended` is None while it runs, and if it was killed.
        version: of stemsplit.
        settings: what of them is told.
        exit_code: None likewise.
        seconds: wall time.
        audio_seconds: separated in it.
        peak_memory_bytes: of all processes together.
        max_ram_bytes: the budget; None if no child was started.
        memory: of all processes, in bytes, by seconds since the run began.
        refused: source, reason and message of each input that is no track.
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
    """A file of the last that were published, there unless somebody has moved it.

    Attributes:
        path: below the output folder.
        stem: its name; that of its file if it is not known.
        waveform_overview: see `stemsplit.core.outcome.StemFile`; empty likewise.
    """

    path: bytes
    stem: str
    waveform_overview: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """One child, known by its `id`; see the schema and `stemsplit.core.outcome.Attempt`.

    Attributes:
        engine: what loaded its engine; empty for a conversion. `stemsplit.models.engines.name_of`
            names it.
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
    """A track, with what became of it when it was last looked at.

    Attributes:
        source: the audio file, absolute.
        run: that looked at it last.
        state: how far it is.
        reason, message, remedy: of its last end.
        warnings: that went with it.
        audio_seconds: as separated, or else as expected.
        stems: in the model's order.
        attempts: in order of time.
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
    """Everything: runs in order of time, at least one, and tracks in order of their sources."""

    output: Path
    runs: tuple[PastRun, ...]
    tracks: tuple[PastTrack, ...]

    @property
    def refused(self) -> tuple[tuple[str, str, str], ...]:
        """Source, reason and message of each input of the last run that is no track."""
        return self.runs[-1].refused

    def engines(self) -> Mapping[int, tuple[str, ...]]:
        """Name the engines of each run's children, by the run's number."""
        loaders: defaultdict[int, set[str]] = defaultdict(set)
        for track in self.tracks:
            for one in track.attempts:
                loaders[one.run] |= {one.engine} - {""}
        named = {run: tuple(sorted(map(name_of, found))) for run, found in loaders.items()}
        return defaultdict(tuple, named)

    @property
    def warned(self) -> Counter[WarningKind]:
        """Count the done tracks that have a warning of each kind."""
        done = (track for track in self.tracks if track.state is JobState.DONE)
        return count_kinds(track.warnings for track in done)

    @property
    def failed(self) -> tuple[PastTrack, ...]:
        """The tracks that have failed, in whatever run that was."""
        return tuple(track for track in self.tracks if track.state is JobState.FAILED)


def read_history(output: Path) -> History:
    """Read all that is known of an output folder, also while a run writes to it.

    Raises:
        UsageError: if nothing is, or its journal is of an older stemsplit.
        StemsplitError: if its journal cannot be read.
    """
    state = OutputLayout(output)
    opened = _Reader.read(state.journal, output)
    if opened is None:
        raise nothing_there(state)
    with opened as reader:
        if reader.version < _LEAST_VERSION:
            raise UsageError(
                f"The journal in {quoted(output)} is of an older stemsplit.",
                "Run the same `stemsplit separate` again: it brings the journal up to date, and "
                "does only what is left.",
            )
        history = reader.history(output)
    if history is None:
        raise nothing_there(state)
    return history


_LEAST_VERSION = 2
"""Of the journal: the first that has all that is read here."""


class _RunRow(NamedTuple):
    number: int
    began: Moment
    ended: Moment | None
    version: str
    settings: str
    exit_code: int | None
    seconds: Seconds | None
    audio_seconds: Seconds | None
    peak_memory_bytes: Count | None
    max_ram_bytes: Count | None
    memory: str | None
    refused: str


class _JobRow(NamedTuple):
    id: int
    source: bytes
    run: int
    state: JobState
    reason: str | None
    message: str
    remedy: str
    warnings: str
    audio_seconds: Seconds | None


class _StemRow(NamedTuple):
    job: int
    number: int | None
    path: bytes
    stem: str | None
    waveform_overview: bytes | None


class _AttemptRow(NamedTuple):
    job: int
    id: int
    run: int
    number: int
    began: Moment
    engine: str
    reason: str | None
    message: str
    seconds: Seconds | None
    peak_pss_bytes: Count | None
    ram_cap_bytes: Count | None
    memory: str | None
    log_file: str | None


class _Rows(NamedTuple):
    """Rows as the queries below give them."""

    runs: list[_RunRow]
    jobs: list[_JobRow]
    stems: list[_StemRow]
    attempts: list[_AttemptRow]


_RUNS = """
    SELECT id, began, ended, version, settings, exit_code, seconds, audio_seconds,
        peak_memory_bytes, max_ram_bytes, memory, refused
    FROM runs ORDER BY id
"""
_JOBS = """
    SELECT id, source, run, state, reason, message, remedy, warnings,
        coalesce(audio_seconds, predicted_seconds)
    FROM jobs ORDER BY source, id
"""
_STEMS = """
    SELECT job, number, path, stem, outline FROM stems LEFT JOIN outlines USING (path)
    ORDER BY job, number, path
"""
_ATTEMPTS = """
    SELECT job, id, run, number, began, engine, reason, message, seconds, peak_pss_bytes,
        ram_cap_bytes, memory, log_file
    FROM attempts ORDER BY id
"""


class _Reader(Database):
    def history(self, output: Path) -> History | None:
        """Give all that the journal knows; None if it knows of no run."""
        rows = self._all_rows()
        with self._told():
            runs = tuple(map(_run, rows.runs))
            return History(output=output, runs=runs, tracks=tuple(_tracks(rows))) if runs else None

    def _all_rows(self) -> _Rows:
        """Give one state of the journal, whatever a run writes meanwhile.

        That run waits as long as this takes, so nothing else is done in it.
        """
        with self._told():
            self._db.execute("BEGIN")
            try:
                return _Rows(
                    self._read(_RunRow, _RUNS),
                    self._read(_JobRow, _JOBS),
                    self._read(_StemRow, _STEMS),
                    self._read(_AttemptRow, _ATTEMPTS),
                )
            finally:
                self._db.execute("ROLLBACK")


def _run(row: _RunRow) -> PastRun:
    decoded = {
        "settings": _settings.decode(row.settings),
        "memory": _curve_of(row.memory),
        "refused": refused_of(row.refused),
    }
    return PastRun(**row._asdict() | decoded)


def _tracks(rows: _Rows) -> Iterator[PastTrack]:
    runs = {row.number for row in rows.runs}
    attempts = _attempts([row for row in rows.attempts if row.run in runs])
    stems = _stems(rows.stems)
    for row in rows.jobs:
        yield PastTrack(
            source=row.source,
            run=row.run,
            state=row.state,
            reason=None if row.reason is None else printable(row.reason),
            message=printable(row.message),
            remedy=printable(row.remedy),
            warnings=warnings_of(row.warnings),
            audio_seconds=row.audio_seconds,
            stems=tuple(stems.get(row.id, ())),
            attempts=tuple(attempts.get(row.id, ())),
        )


def _stems(rows: list[_StemRow]) -> dict[int, list[PastStem]]:
    """Give the stems of each job that were published last; all, if that is not known of any."""
    last: defaultdict[int, list[PastStem]] = defaultdict(list)
    others: defaultdict[int, list[PastStem]] = defaultdict(list)
    for job, number, path, stem, waveform_overview in rows:
        name = stem or os.fsdecode(os.path.splitext(os.path.basename(path))[0])
        found = others if number is None else last
        stem_file = PastStem(
            path=require_inside(path), stem=name, waveform_overview=waveform_overview or b""
        )
        found[job].append(stem_file)
    return others | last


def _attempts(rows: list[_AttemptRow]) -> dict[int, list[PastAttempt]]:
    found = defaultdict(list)
    for row in rows:
        known = row._asdict() | {
            "memory": _curve_of(row.memory),
            "engine": printable(row.engine),
        }
        found[known.pop("job")].append(PastAttempt(**known))
    return found


def _curve_of(curve: str | None) -> TimeSeries | None:
    return None if curve is None else _curve.decode(curve)

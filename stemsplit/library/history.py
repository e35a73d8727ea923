"""Runs in the supervisor. All that a journal knows, for `stemsplit report`."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from stemsplit.engines import name_of
from stemsplit.envelope import Curve
from stemsplit.errors import UsageError
from stemsplit.job import count_kinds
from stemsplit.library.database import Database
from stemsplit.library.lock import nothing_there
from stemsplit.library.records import JobState, warnings_of
from stemsplit.library.state import State
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from stemsplit.job import TrackWarning, WarningKind

_curve: msgspec.json.Decoder[Curve] = msgspec.json.Decoder(Curve)
_refused: msgspec.json.Decoder[tuple[tuple[str, str, str], ...]] = msgspec.json.Decoder(
    tuple[tuple[str, str, str], ...]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One run of the command.

    Attributes:
        number: from 1.
        began, ended: in seconds since 1970; `ended` is None while it runs, and if it was killed.
        version: of stemsplit.
        settings: JSON, as `stemsplit.library.records.settings_key` has it.
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
    settings: str
    exit_code: int | None
    seconds: float | None
    audio_seconds: float | None
    peak_memory_bytes: int | None
    max_ram_bytes: int | None
    memory: Curve | None
    refused: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastStem:
    """A file of the last that were published, there unless somebody has moved it.

    Attributes:
        path: below the output folder.
        stem: its name; that of its file if it is not known.
        outline: see `stemsplit.job.StemFile`; empty likewise.
    """

    path: bytes
    stem: str
    outline: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """One child, known by its `id`; see the schema and `stemsplit.job.Attempt`.

    Attributes:
        engine: what loaded its engine; empty for a conversion. `stemsplit.engines.name_of` names
            it.
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
    memory: Curve | None
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
    state = State(output)
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
        rows = reader.all_rows()
    if not rows.runs:
        raise nothing_there(state)
    return History(output=output, runs=tuple(map(_run, rows.runs)), tracks=tuple(_tracks(rows)))


_LEAST_VERSION = 2
"""Of the journal: the first that has all that is read here."""


class _Rows(NamedTuple):
    """Rows as the queries below give them."""

    runs: list[tuple[Any, ...]]
    jobs: list[tuple[Any, ...]]
    stems: list[tuple[Any, ...]]
    attempts: list[tuple[Any, ...]]


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
    def all_rows(self) -> _Rows:
        """Give one state of the journal, whatever a run writes meanwhile.

        That run waits as long as this takes, so nothing else is done in it.
        """
        with self._told():
            self._db.execute("BEGIN")
            try:
                return _Rows(*(self._rows(query) for query in (_RUNS, _JOBS, _STEMS, _ATTEMPTS)))
            finally:
                self._db.execute("ROLLBACK")


def _run(row: tuple[Any, ...]) -> PastRun:
    number, began, ended, version, settings, code, seconds, audio, peak, budget, memory, no = row
    return PastRun(
        number=number,
        began=began,
        ended=ended,
        version=version,
        settings=settings,
        exit_code=code,
        seconds=seconds,
        audio_seconds=audio,
        peak_memory_bytes=peak,
        max_ram_bytes=budget,
        memory=_read(memory),
        refused=_refused.decode(no),
    )


def _tracks(rows: _Rows) -> Iterator[PastTrack]:
    stems, attempts = _stems(rows.stems), _attempts(rows.attempts)
    for job, source, run, state, reason, message, remedy, warnings, seconds in rows.jobs:
        yield PastTrack(
            source=source,
            run=run,
            state=JobState(state),
            reason=reason,
            message=message,
            remedy=remedy,
            warnings=warnings_of(warnings),
            audio_seconds=seconds,
            stems=tuple(stems.get(job, ())),
            attempts=tuple(attempts.get(job, ())),
        )


def _stems(rows: list[tuple[Any, ...]]) -> dict[int, list[PastStem]]:
    """Give the stems of each job that were published last; all, if that is not known of any."""
    last: defaultdict[int, list[PastStem]] = defaultdict(list)
    others: defaultdict[int, list[PastStem]] = defaultdict(list)
    for job, number, path, stem, outline in rows:
        name = stem or os.fsdecode(os.path.splitext(os.path.basename(path))[0])
        found = others if number is None else last
        found[job].append(PastStem(path=path, stem=name, outline=outline or b""))
    return others | last


def _attempts(rows: list[tuple[Any, ...]]) -> dict[int, list[PastAttempt]]:
    found = defaultdict(list)
    names = (
        "id", "run", "number", "began", "engine", "reason", "message", "seconds",
        "peak_pss_bytes", "ram_cap_bytes", "memory", "log_file",
    )  # fmt: skip
    for job, *values in rows:
        known = dict(zip(names, values, strict=True))
        known["memory"] = _read(known["memory"])
        found[job].append(PastAttempt(**known))
    return found


def _read(curve: str | None) -> Curve | None:
    return None if curve is None else _curve.decode(curve)

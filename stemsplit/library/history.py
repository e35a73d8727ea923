"""Runs in the supervisor. All that a journal knows, for `stemsplit report`."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from stemsplit.envelope import Curve
from stemsplit.errors import UsageError
from stemsplit.library.database import Database
from stemsplit.library.records import JobState
from stemsplit.library.schema import SCHEMA_VERSION
from stemsplit.library.state import State
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_curve = msgspec.json.Decoder(Curve)
_warnings = msgspec.json.Decoder(tuple[str, ...])
_refused = msgspec.json.Decoder(tuple[tuple[str, str, str], ...])


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
    """A file that is there, unless somebody has moved it.

    Attributes:
        path: below the output folder.
        stem: its name; empty if it is not known.
        outline: see `stemsplit.job.StemFile`; empty likewise.
    """

    path: bytes
    stem: str
    outline: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """One child, known by its `id`; see the schema and `stemsplit.job.Attempt`."""

    id: int
    run: int
    number: int
    began: float
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
    warnings: tuple[str, ...]
    audio_seconds: float | None
    stems: tuple[PastStem, ...]
    attempts: tuple[PastAttempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything: runs in order of time, at least one, and tracks in order of their sources."""

    output: Path
    runs: tuple[PastRun, ...]
    tracks: tuple[PastTrack, ...]


def read_history(output: Path) -> History:
    """Read all that is known of an output folder, also while a run writes to it.

    Raises:
        UsageError: if nothing is, or its journal is of an older stemsplit.
        StemsplitError: if its journal cannot be read.
    """
    state = State(output)
    opened = _Reader.read(state.journal, output)
    if opened is None:
        raise UsageError(
            f"Nothing was separated into {quoted(output)} so far.",
            "Name the folder that was given to `stemsplit separate` with -o.",
        )
    with opened as reader:
        if reader.version < SCHEMA_VERSION:
            raise UsageError(
                f"The journal in {quoted(output)} is of an older stemsplit.",
                "Run the same `stemsplit separate` again: it brings the journal up to date, and "
                "does only what is left.",
            )
        with reader.at_one_moment():
            return History(output=output, runs=tuple(reader.runs()), tracks=tuple(reader.tracks()))


class _Reader(Database):
    @contextlib.contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """Within this, see one state of the journal, whatever a run writes meanwhile."""
        with self._told():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("ROLLBACK")

    def runs(self) -> Iterator[PastRun]:
        rows = self._rows(
            """
            SELECT id, began, ended, version, settings, exit_code, seconds, audio_seconds,
                peak_memory_bytes, max_ram_bytes, memory, refused
            FROM runs ORDER BY id
            """
        )
        for *plain, memory, refused in rows:
            number, began, ended, version, settings, code, seconds, audio, peak, budget = plain
            yield PastRun(
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
                refused=_refused.decode(refused),
            )

    def tracks(self) -> Iterator[PastTrack]:
        stems, attempts = self._stems(), self._attempts()
        rows = self._rows(
            """
            SELECT id, source, run, state, reason, message, remedy, warnings,
                coalesce(audio_seconds, predicted_seconds)
            FROM jobs ORDER BY source, id
            """
        )
        for job, source, run, state, reason, message, remedy, warnings, seconds in rows:
            yield PastTrack(
                source=source,
                run=run,
                state=JobState(state),
                reason=reason,
                message=message,
                remedy=remedy,
                warnings=_warnings.decode(warnings),
                audio_seconds=seconds,
                stems=tuple(stems[job]),
                attempts=tuple(attempts[job]),
            )

    def _stems(self) -> dict[int, list[PastStem]]:
        found = defaultdict(list)
        rows = self._rows("SELECT job, path, stem, outline FROM stems ORDER BY job, number, path")
        for job, path, stem, outline in rows:
            name = stem or os.fsdecode(os.path.splitext(os.path.basename(path))[0])
            found[job].append(PastStem(path=path, stem=name, outline=outline or b""))
        return found

    def _attempts(self) -> dict[int, list[PastAttempt]]:
        found = defaultdict(list)
        rows = self._rows(
            """
            SELECT job, id, run, number, began, reason, message, seconds, peak_pss_bytes,
                ram_cap_bytes, memory, log_file
            FROM attempts ORDER BY id
            """
        )
        names = (
            "id", "run", "number", "began", "reason", "message", "seconds", "peak_pss_bytes",
            "ram_cap_bytes", "memory", "log_file",
        )  # fmt: skip
        for job, *values in rows:
            known = dict(zip(names, values, strict=True))
            known["memory"] = _read(known["memory"])
            found[job].append(PastAttempt(**known))
        return found


def _read(curve: str | None) -> Curve | None:
    return None if curve is None else _curve.decode(curve)

"""Runs in the supervisor. The journal's records of runs, and of attempts for predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from stemsplit.core.text import printable
from stemsplit.core.units import Count, Moment


class RunRecord(NamedTuple):
    """One run of the command; see the table `runs` in `stemsplit.journal.schema`."""

    began: Moment
    ended: Moment | None
    exit_code: int | None
    unrecorded: Count
    overwrite: int


class RunSummary(Protocol):
    """The result of a run, such as `stemsplit.batch.events.BatchDone`."""

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""

    @property
    def seconds(self) -> float:
        """Wall time of the batch."""

    @property
    def audio_seconds(self) -> float:
        """Duration of the audio separated in it."""

    @property
    def peak_memory_bytes(self) -> int | None:
        """Peak memory of all processes together; None if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptMeasurement:
    """Time and memory of a finished attempt of an earlier run on this machine."""

    lean: bool
    threads: int
    private_bytes: int | None
    audio_seconds: float
    seconds: float


_refused: msgspec.json.Decoder[tuple[tuple[str, str, str], ...]] = msgspec.json.Decoder(
    tuple[tuple[str, str, str], ...]
)


def decode_refused(text: str) -> tuple[tuple[str, str, str], ...]:
    """Return source, reason and message of each input in a run's column `refused`, printable."""
    return tuple(
        (printable(source), printable(reason), printable(message))
        for source, reason, message in _refused.decode(text)
    )

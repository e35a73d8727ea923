"""Runs in the supervisor. How far a batch is: what bars, `stemsplit status` and `--json` show."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stemsplit.core.compat import StrEnum
from stemsplit.core.units import Count, Moment, Seconds


class Step(StrEnum):
    """What a child is at: it starts, loads the engine, works, or closes and checks its files."""

    STARTING = "starting"
    LOADING = "loading"
    WORKING = "working"
    CLOSING = "closing"


class RunningTrack(msgspec.Struct, frozen=True, kw_only=True):
    """A track that is being separated.

    Attributes:
        source: the audio file, printable.
        attempt: number of the child, from 1.
        step: what the child is at.
        seconds: since the child was started.
        audio_seconds: separated so far.
        total_seconds: of audio; None where it is not known.
        memory_bytes: of the child and all that it started, when last read; None if never.
        ram_cap_bytes: what they may take.
    """

    source: str
    attempt: Count
    step: Step
    seconds: Seconds
    audio_seconds: Seconds
    total_seconds: Seconds | None
    memory_bytes: Count | None
    ram_cap_bytes: Count


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is.

    Attributes:
        pid: of the supervisor.
        updated: when this was written, in seconds since 1970.
        seconds: since the run began.
        done, failed, left: tracks separated and failed in this run, and those still to be ended,
            what is running included.
        audio_seconds: separated in this run.
        audio_seconds_left: still to be separated, guessed where a file does not say.
        speed: seconds of audio a second, so far; None before there is any.
        seconds_left: until all is done, predicted; None where nothing is known.
        memory_bytes: of all processes together, when last read; None if never.
        max_ram_bytes: the budget.
        running: the tracks that are being separated.
        pausing: why nothing is started, empty where something may be.
    """

    pid: Count
    updated: Moment
    seconds: Seconds
    done: Count
    failed: Count
    left: Count
    audio_seconds: Seconds
    audio_seconds_left: Seconds
    speed: Annotated[float, msgspec.Meta(ge=0, le=1e9)] | None
    seconds_left: Seconds | None
    memory_bytes: Count | None
    max_ram_bytes: Count
    running: tuple[RunningTrack, ...]
    pausing: str = ""

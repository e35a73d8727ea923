"""Runs in the supervisor. Progress of a batch, for bars, `stemsplit status` and `--json`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stemsplit.core.compat import StrEnum
from stemsplit.core.units import Count, Moment, Seconds


class Step(StrEnum):
    """Step of a child: starting, loading the engine, separating, or closing and verifying files."""

    STARTING = "starting"
    LOADING = "loading"
    WORKING = "working"
    CLOSING = "closing"


class RunningTrack(msgspec.Struct, frozen=True, kw_only=True):
    """A track that is being separated.

    Attributes:
        source: the audio file, printable.
        attempt: number of the child, from 1.
        step: current step of the child.
        seconds: since the start of the child.
        audio_seconds: audio separated so far.
        total_seconds: duration of the track; None if unknown.
        memory_bytes: last sampled memory of the child and its descendants; None if never sampled.
        ram_cap_bytes: memory cap of the child.
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
    """Progress of a run.

    Attributes:
        pid: process ID of the supervisor.
        updated: time of this status, in seconds since 1970.
        seconds: since the start of the run.
        done, failed, left: tracks finished in this run, tracks failed, and tracks that remain,
            including those in progress.
        audio_seconds: audio separated in this run.
        audio_seconds_left: audio that remains, estimated for files of unknown duration.
        speed: seconds of audio per second so far; None before the first result.
        seconds_left: predicted time to the end of the run; None if unknown.
        memory_bytes: last sampled memory of all processes; None if never sampled.
        max_ram_bytes: the memory budget.
        running: tracks in progress.
        pausing: why no track may start; empty if tracks may start.
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

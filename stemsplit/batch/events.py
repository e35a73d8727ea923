"""Runs in the supervisor. What a batch tells its caller, as it happens; `--json` prints these.

Every event is one JSON object with `type` and `time`; the first also bears `schema`, the version of
this vocabulary. New fields may appear within a version; none changes its meaning or disappears.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from stemsplit.core.progress import Status

SCHEMA_VERSION = 1


def _now() -> float:
    return time.time()


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", rename=None):
    time: float = msgspec.field(default_factory=_now)


class BatchStarted(_Event, frozen=True, kw_only=True, tag="batch_started"):
    """The plan is made: the first event of every batch.

    Attributes:
        schema: version of this vocabulary.
        version: of stemsplit.
        tracks: how many there are, with those that are done already, without those that a limit
            leaves for another run.
        what: is done: `separation` or `conversion`.
        model: the model's name; null for a conversion.
        engine: what runs its network, `tensorflow` or `onnx`; null likewise.
        output: the output folder.
    """

    schema: int = SCHEMA_VERSION
    version: str
    tracks: int
    what: str = "separation"
    model: str | None
    engine: str | None = None
    output: str


class PoolStarted(_Event, frozen=True, kw_only=True, tag="pool_started"):
    """Children are about to be started.

    Attributes:
        jobs: how many may work at once.
        threads: of each.
        lean: whether each keeps one instrument's U-Net in memory at a time, because the budget
            allows no more.
        max_ram_bytes: the budget of all processes together.
        max_ram_per_file_bytes: the cap of one child.
        min_free_bytes: left free for other programs.
    """

    jobs: int
    threads: int
    lean: bool
    max_ram_bytes: int
    max_ram_per_file_bytes: int
    min_free_bytes: int


class Note(_Event, frozen=True, kw_only=True, tag="note"):
    """Something about the batch as a whole, for a person."""

    text: str


class TrackPlanned(_Event, frozen=True, kw_only=True, tag="track_planned"):
    """What would become of a track; only where a plan is all that was asked for.

    Attributes:
        source: the audio file.
        destination: the folder of its stems.
        paths: of its stems.
        action: `separate`, `leave` (done), `leave_failed`, `refuse`, or `put_off` to another run.
        why: in words.
        audio_seconds: duration that the header declares; null where it does not say.
        predicted_seconds: of its child; null where it is not separated.
        predicted_bytes: of its stems together; null likewise.
    """

    source: str
    destination: str
    paths: tuple[str, ...]
    action: str
    why: str
    audio_seconds: float | None
    predicted_seconds: float | None
    predicted_bytes: int | None


class PlanMade(_Event, frozen=True, kw_only=True, tag="plan_made"):
    """What a batch would do in all; the last event where a plan is all that was asked for.

    Attributes:
        separate, leave, leave_failed, refuse: how many tracks become which.
        problems: inputs that lead to no track.
        put_off: tracks left for another run because of a limit.
        unreadable: folders below an input that cannot be read.
        audio_seconds: to be separated, guessed where a file does not say.
        predicted_seconds: of the batch.
        predicted_bytes: of all stems to be written.
        free_bytes: on the disk of the output folder; null where the output is remote.
        predicted_memory_bytes: of all processes together.
        max_ram_bytes: the budget.
        jobs: how many children would work at once.
        threads: of each.
        until: the deadline, in seconds since 1970; null where there is none.
        ends_in_time: how many of the tracks are predicted to end before it; null likewise.
        exit_code: what the command will return.
    """

    separate: int
    leave: int
    leave_failed: int
    refuse: int
    problems: int
    audio_seconds: float
    predicted_seconds: float
    predicted_bytes: int
    free_bytes: int | None
    predicted_memory_bytes: int
    max_ram_bytes: int
    jobs: int
    threads: int
    until: float | None
    ends_in_time: int | None
    put_off: int = 0
    unreadable: tuple[str, ...] = ()
    exit_code: int


class TrackSkipped(_Event, frozen=True, kw_only=True, tag="track_skipped"):
    """A track is done already; `why` says how that is known."""

    source: str
    destination: str
    why: str = ""


class TrackStarted(_Event, frozen=True, kw_only=True, tag="track_started"):
    """A child has opened the file.

    Attributes:
        source: the audio file.
        destination: the folder for its stems.
        format: container and encoding, `WAV PCM_16`.
        sample_rate: of the source, in Hz.
        channels: of the source.
        audio_seconds: duration that the header declares; null where it does not say.
        preloaded: whether the child found the engine's libraries in memory.
    """

    source: str
    destination: str
    format: str
    sample_rate: int
    channels: int
    audio_seconds: float | None
    preloaded: bool


class TrackRetried(_Event, frozen=True, kw_only=True, tag="track_retried"):
    """An attempt at a track failed; another one follows, which goes about it in another way.

    Attributes:
        source: the audio file.
        attempt: number of the attempt that failed, from 1.
        reason: one of the reasons in docs/errors.md.
        message: one sentence.
        next: how the next attempt goes about it.
        exit_code: the child's, negative for a signal.
        peak_memory_bytes: of the child and all that it started; null if unknown.
        story: what happened, line by line.
        log_tail: the last lines of the child's log.
        log_file: where the log is kept; null if it is not.
    """

    source: str
    attempt: int
    reason: str
    message: str
    next: str
    exit_code: int | None
    peak_memory_bytes: int | None
    story: tuple[str, ...]
    log_tail: str
    log_file: str | None


class TrackProgress(_Event, frozen=True, kw_only=True, tag="track_progress"):
    """So many seconds of a track's audio are separated."""

    source: str
    audio_seconds: float


class Stem(msgspec.Struct, frozen=True, kw_only=True):
    """One written stem.

    Attributes:
        stem: its name; `converted` in a conversion.
        path: its file.
        frames: samples a channel.
        sample_rate: in Hz.
        peak: the largest absolute sample, 1.0 at full scale, before clamping.
        clipped_samples: how many were beyond full scale and were clamped.
        gain: by which it was made quieter, so that none had to be; else 1.
    """

    stem: str
    path: str
    frames: int
    sample_rate: int
    peak: float
    clipped_samples: int
    gain: float


class TrackDone(_Event, frozen=True, kw_only=True, tag="track_done"):
    """All stems of a track are in place.

    Attributes:
        source: the audio file.
        destination: the folder of its stems.
        stems: one entry a stem.
        warnings: sentences a person should read all the same.
        warning_kinds: the kind of each of them: `damaged`, `clipped` or `note`.
        audio_seconds: how much audio was separated.
        seconds: wall time from the child's start to the stems in place.
        attempts: how many children it took.
        peak_memory_bytes: of the child and all that it started (PSS where the system has it); null
            if unknown.
        peak_rss_bytes: of the child itself with all shared pages; null if unknown.
    """

    source: str
    destination: str
    stems: tuple[Stem, ...]
    warnings: tuple[str, ...]
    warning_kinds: tuple[str, ...] = ()
    audio_seconds: float
    seconds: float
    attempts: int
    peak_memory_bytes: int | None
    peak_rss_bytes: int | None


class TrackFailed(_Event, frozen=True, kw_only=True, tag="track_failed"):
    """A track could not be separated; nothing of it was written.

    Attributes:
        source: the audio file or other input.
        reason: one of the reasons in docs/errors.md.
        message: one sentence.
        remedy: what to do next.
        attempts: how many children were started for it.
        exit_code: the last child's, negative for a signal; null where none ran.
        peak_memory_bytes: of the last child and all that it started; null if unknown.
        traceback: the child's own; may be empty.
        story: what happened in the last attempt, line by line.
        log_tail: the last lines of the child's log.
        log_file: where the log is kept; null if it is not.
        earlier: whether that was in an earlier run, and it was left alone in this one.
    """

    source: str
    reason: str
    message: str
    remedy: str
    attempts: int = 0
    exit_code: int | None = None
    peak_memory_bytes: int | None = None
    traceback: str = ""
    story: tuple[str, ...] = ()
    log_tail: str = ""
    log_file: str | None = None
    earlier: bool = False


class BatchProgress(_Event, frozen=True, kw_only=True, tag="batch_progress"):
    """How far the batch is; once a second while children work."""

    status: Status


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the summary: what failed, and why."""

    source: str
    reason: str
    message: str


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the summary: a track that is done although part of its source is lost."""

    source: str
    message: str


class BatchDone(_Event, frozen=True, kw_only=True, tag="batch_done"):
    """Nothing is left to do, or nothing more can be done.

    Attributes:
        done: tracks separated now.
        skipped: tracks that were done already.
        failed: tracks and inputs that failed, now or earlier.
        not_started: tracks left out because the batch was stopped, or because they would not have
            ended in time.
        late: those of them that would not have ended in time.
        put_off: tracks left for another run because of a limit; not among `not_started`.
        unreadable: folders below an input that cannot be read; what is in them was left out.
        seconds: wall time of the batch.
        audio_seconds: audio separated now.
        peak_memory_bytes: the largest memory of all processes together, the supervisor and the
            fork server included; null if unknown.
        times_real_time: audio separated a second.
        damaged, clipped, notes: how many of the tracks separated now have a warning of that kind.
            Tracks that failed as damaged are not among them.
        failures: one entry for each failure.
        damages: one entry for each track that `damaged` counts.
        damaged_earlier: how many of the tracks that were done already have such a warning.
        unshown: why what was told of the batch could not be shown; empty if it could.
        exit_code: what the command will return.
    """

    done: int
    skipped: int
    failed: int
    not_started: int
    late: int = 0
    put_off: int = 0
    unreadable: tuple[str, ...] = ()
    seconds: float
    audio_seconds: float
    peak_memory_bytes: int | None
    times_real_time: float | None = None
    damaged: int = 0
    clipped: int = 0
    notes: int = 0
    failures: tuple[Failure, ...] = ()
    damages: tuple[Damage, ...] = ()
    damaged_earlier: int = 0
    unshown: str = ""
    exit_code: int


Event = (
    BatchStarted
    | PoolStarted
    | Note
    | TrackPlanned
    | PlanMade
    | TrackSkipped
    | TrackStarted
    | TrackProgress
    | BatchProgress
    | TrackRetried
    | TrackDone
    | TrackFailed
    | BatchDone
)


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of an event, as `docs/events.schema.json` has it."""
    schema = msgspec.json.schema(Event)
    for definition in schema["$defs"].values():
        if "properties" in definition:  # every field is always there, a default one as well
            definition["required"] = [*definition["properties"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"An event of stemsplit, version {SCHEMA_VERSION} of the vocabulary",
        **schema,
    }

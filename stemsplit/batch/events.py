"""Runs in the supervisor. The events that a batch emits; `--json` prints them.

Each event is a JSON object with `type` and `time`; the first also has `schema`, the version of this
schema. Within a version, fields may be added, but none changes its meaning or disappears.

One module because `docs/events.md` describes all events together, and `docs/events.schema.json` is
generated from their definitions and docstrings.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from stemsplit.core.progress import Status

SCHEMA_VERSION = 1


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", rename=None):
    time: float = msgspec.field(default_factory=time.time)


class BatchStarted(_Event, frozen=True, kw_only=True, tag="batch_started"):
    """The batch is planned; the first event of every batch.

    Attributes:
        schema: version of this schema.
        version: version of stemsplit.
        tracks: number of tracks, including those already done, without those that a limit leaves
            for another run.
        what: `separation` or `conversion`.
        model: name of the model; null for a conversion.
        engine: engine that runs the model, `tensorflow` or `onnx`; null for a conversion.
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
    """Children are about to start.

    Attributes:
        jobs: maximum number of children that run at once.
        threads: number of threads of each child.
        lean: whether each child holds one instrument's U-Net in memory at a time, because the
            budget allows no more.
        max_ram_bytes: memory budget of all processes together.
        max_ram_per_file_bytes: memory cap of one child.
        min_free_bytes: memory left free for other programs.
    """

    jobs: int
    threads: int
    lean: bool
    max_ram_bytes: int
    max_ram_per_file_bytes: int
    min_free_bytes: int


class Note(_Event, frozen=True, kw_only=True, tag="note"):
    """A message for the user about the batch as a whole."""

    text: str


class TrackPlanned(_Event, frozen=True, kw_only=True, tag="track_planned"):
    """What the batch would do with a track; only in a dry run.

    Attributes:
        source: the audio file.
        destination: folder of its stems.
        paths: files of its stems.
        action: `separate`, `leave` (already done), `leave_failed` (failed in an earlier run),
            `refuse`, or `put_off` (left for another run).
        why: the reason, as text.
        audio_seconds: duration according to the header; null if it has none.
        predicted_seconds: predicted time of its child; null unless the action is `separate`.
        predicted_bytes: predicted size of its stems together; null in the same cases.
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
    """What the batch would do as a whole; the last event of a dry run.

    Attributes:
        separate, leave, leave_failed, refuse: number of tracks with that action.
        problems: number of inputs that lead to no track.
        put_off: number of tracks that a limit leaves for another run.
        unreadable: folders below an input that cannot be read.
        audio_seconds: audio to be separated, estimated where a header has no duration.
        predicted_seconds: predicted time of the batch.
        predicted_bytes: predicted size of all stems to be written.
        free_bytes: free space on the disk of the output folder; null if the output is remote.
        predicted_memory_bytes: predicted memory of all processes together.
        max_ram_bytes: the memory budget.
        jobs: number of children that would run at once.
        threads: number of threads of each child.
        until: the deadline, in seconds since 1970; null if there is none.
        ends_in_time: number of tracks predicted to end before the deadline; null if there is none.
        exit_code: exit code of the command.
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
    """A track is skipped because it is already done; `why` says how that is known."""

    source: str
    destination: str
    why: str = ""


class TrackStarted(_Event, frozen=True, kw_only=True, tag="track_started"):
    """A child has opened the file.

    Attributes:
        source: the audio file.
        destination: folder for its stems.
        format: container and encoding, such as `WAV PCM_16`.
        sample_rate: sample rate of the source, in Hz.
        channels: number of channels of the source.
        audio_seconds: duration according to the header; null if it has none.
        preloaded: whether the engine's libraries were already loaded when the child started.
    """

    source: str
    destination: str
    format: str
    sample_rate: int
    channels: int
    audio_seconds: float | None
    preloaded: bool


class TrackRetried(_Event, frozen=True, kw_only=True, tag="track_retried"):
    """An attempt at a track failed; another attempt follows.

    Attributes:
        source: the audio file.
        attempt: number of the failed attempt, from 1.
        reason: one of the reasons in docs/errors.md.
        message: what happened, in one sentence.
        next: resources of the next attempt.
        exit_code: exit code of the child, negative for a signal; null if unknown.
        peak_memory_bytes: peak memory of the child and its descendants; null if unknown.
        story: what happened, line by line.
        log_tail: the last lines of the child's log.
        log_file: path of the log; null if it is not kept.
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
    """`audio_seconds` of a track have been separated so far."""

    source: str
    audio_seconds: float


class Stem(msgspec.Struct, frozen=True, kw_only=True):
    """A written stem.

    Attributes:
        stem: name of the stem; `converted` in a conversion.
        path: its file.
        frames: number of samples per channel.
        sample_rate: in Hz.
        peak: largest absolute sample before clamping, 1.0 at full scale.
        clipped_samples: number of samples beyond full scale that were clamped.
        gain: factor by which the stem was attenuated to avoid clipping; 1 if it was not.
    """

    stem: str
    path: str
    frames: int
    sample_rate: int
    peak: float
    clipped_samples: int
    gain: float


class TrackDone(_Event, frozen=True, kw_only=True, tag="track_done"):
    """All stems of a track are published.

    Attributes:
        source: the audio file.
        destination: folder of its stems.
        stems: one entry for each stem.
        warnings: sentences about what the user should know nevertheless.
        warning_kinds: kind of each warning: `damaged`, `clipped` or `note`.
        audio_seconds: length of the separated audio.
        seconds: wall time from the child's start to the publication of the stems.
        attempts: number of attempts.
        peak_memory_bytes: peak memory of the child and its descendants (PSS if the system reports
            it); null if unknown.
        peak_rss_bytes: peak RSS of the child itself, shared pages included; null if unknown.
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
    """A track could not be separated; none of its stems were written.

    Attributes:
        source: the audio file or other input.
        reason: one of the reasons in docs/errors.md.
        message: what happened, in one sentence.
        remedy: what the user can do.
        attempts: number of attempts.
        exit_code: exit code of the last child, negative for a signal; null if none ran.
        peak_memory_bytes: peak memory of the last child and its descendants; null if unknown.
        traceback: traceback of the child; may be empty.
        story: what happened in the last attempt, line by line.
        log_tail: the last lines of the child's log.
        log_file: path of the log; null if it is not kept.
        earlier: whether the track failed in an earlier run and was not retried in this one.
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
    """Status of the batch; once a second while children run."""

    status: Status


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the summary: a failure and its reason."""

    source: str
    reason: str
    message: str


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the summary: a track that is done although part of its source is lost."""

    source: str
    message: str


class BatchDone(_Event, frozen=True, kw_only=True, tag="batch_done"):
    """The batch has ended; nothing is left to do, or nothing more can be done.

    Attributes:
        done: number of tracks separated in this run.
        skipped: number of tracks that were already done.
        failed: number of tracks and inputs that failed, in this run or an earlier one.
        not_started: number of tracks that did not start because the batch was stopped, or because
            they could not have finished in time.
        late: number of those that could not have finished in time.
        put_off: number of tracks that a limit left for another run; not included in `not_started`.
        unreadable: folders below an input that could not be read; their contents were ignored.
        seconds: wall time of the batch.
        audio_seconds: length of the audio separated in this run.
        peak_memory_bytes: peak memory of all processes together, including the supervisor and the
            fork server; null if unknown.
        times_real_time: seconds of audio separated per second; null if none was separated.
        damaged, clipped, notes: number of tracks separated in this run with a warning of that kind.
            Tracks that failed as damaged are not included.
        failures: one entry for each failure.
        damages: one entry for each track that `damaged` counts.
        damaged_earlier: number of tracks already done that have a warning `damaged`.
        unshown: why the events of the batch could not be shown; empty if they could.
        exit_code: exit code of the command.
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
    """Return the JSON Schema (draft 2020-12) of an event, as in `docs/events.schema.json`."""
    schema = msgspec.json.schema(Event)
    for definition in schema["$defs"].values():
        if "properties" in definition:  # fields with defaults are always present too
            definition["required"] = [*definition["properties"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"An event of stemsplit, version {SCHEMA_VERSION} of the schema",
        **schema,
    }

"""Runs in the supervisor. The journal's records of jobs, and the keys that identify them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.compat import StrEnum
from stemsplit.core.outcome import TrackWarning, WarningKind
from stemsplit.core.settings import AUTOMATIC, LOADERS, Settings
from stemsplit.core.text import printable
from stemsplit.journal.fingerprints import is_an_hour_apart, is_same_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stemsplit.core.job import Job
    from stemsplit.core.outcome import Reason
    from stemsplit.journal.stem_records import Stem


class JobState(StrEnum):
    """Progress of a job.

    A job is `publishing` from the moment its stems are checked and on disk until all of them are at
    their destinations.
    """

    WAITING = "waiting"
    RUNNING = "running"
    PUBLISHING = "publishing"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The source and settings of stems; stems with equal provenance are equal.

    Attributes:
        source_bytes: size of the source.
        source_modified_ns: time of its last change, in nanoseconds since 1970.
        settings: as returned by `settings_key`.
        sample: sample of its content (`stemsplit.library.probe.sample_hash`); empty if unknown.
    """

    source_bytes: int
    source_modified_ns: int
    settings: str
    sample: bytes = b""

    @property
    def source_fingerprint(self) -> tuple[int, int]:
        """The fingerprint of the source (`stemsplit.journal.fingerprints`)."""
        return self.source_bytes, self.source_modified_ns

    def has_same_source(self, other: Provenance) -> bool:
        """Return whether both have the same source.

        If the times are an hour apart, both samples must be known and equal: a recorder that
        replaces a file every hour may keep its size.
        """
        one, two = self.source_fingerprint, other.source_fingerprint
        if is_same_file(one, two):
            return True
        return is_an_hour_apart(one, two) and self.sample == other.sample != b""

    def equals(self, other: Provenance | None) -> bool:
        """Return whether both have the same source and settings."""
        return other is not None and self.settings == other.settings and self.has_same_source(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """The journal's record of a job.

    Attributes:
        source: the audio file, absolute.
        wanted: provenance that the last run wanted.
        published: provenance of the published stems; None if there are none.
        version: version of stemsplit that last tried the job.
        state: progress of the job.
        reason: reason of its last outcome; None if there is none.
        message: message of a failure.
        remedy: what the user can do about it.
    """

    source: bytes
    wanted: Provenance
    published: Provenance | None
    version: str
    state: JobState
    reason: Reason | None
    message: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEntry:
    """A job to be added to a run.

    Attributes:
        job: the track.
        wanted: provenance of its stems.
        predicted_seconds: predicted duration of the audio.
        state: `waiting`, or the state in which an earlier run left it.
        replaceable: the fingerprints of existing files that may be replaced whatever they are, by
            their paths below the output folder; None unless the job is to be done again.
    """

    job: Job
    wanted: Provenance
    predicted_seconds: float
    state: JobState
    replaceable: Mapping[bytes, tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedJob:
    """A job that a killed run left unfinished.

    Attributes:
        key: the job's key.
        state: its state then.
        pending: the stems that were being published.
        staging_folders: those of its attempts without an end.
    """

    key: bytes
    state: JobState
    pending: tuple[Stem, ...]
    staging_folders: tuple[Path, ...]


def job_key(job: Job, output: Path) -> bytes:
    """Return a job's key: a path below the output folder, the column `place` of `jobs`.

    It does not depend on which stems are written, so a job keeps its key when others are requested.
    """
    folder = os.path.relpath(job.destination, os.fsencode(output))
    return os.path.normpath(os.path.join(folder, job.anchor))


def stem_paths(job: Job, output: Path) -> dict[str, bytes]:
    """Return the path of each stem below the output folder."""
    folder = os.path.relpath(job.destination, os.fsencode(output))
    return {
        stem: os.path.normpath(os.path.join(folder, file))
        for stem, file in zip(job.stems, job.files, strict=True)
    }


def settings_key(settings: Settings) -> str:
    """Return the settings that the stems depend on, as JSON that can be compared.

    `accept_damaged` is left out: the stems of an undamaged file do not depend on it. Newer settings
    are included only if they differ from the default, so that a new version of stemsplit does not
    separate everything again.
    """
    values = msgspec.structs.asdict(settings)
    del values["threads"], values["accept_damaged"]
    if settings.engine in {AUTOMATIC, *LOADERS}:
        # All engines write the same stems, to 1e-5, so a library begun with one may be finished
        # with another. The name is that of the first engine, so that old journals stay valid.
        values["engine"] = LOADERS["tensorflow"]
    defaults = msgspec.structs.asdict(Settings())
    always = {"model", "format", "bit_depth", "tags", "engine"}
    kept = {
        name: value for name, value in values.items() if name in always or value != defaults[name]
    }
    return msgspec.json.encode(kept, order="sorted").decode()


_warnings: msgspec.json.Decoder[tuple[TrackWarning | str, ...]] = msgspec.json.Decoder(
    tuple[TrackWarning | str, ...]
)


def decode_warnings(text: str) -> tuple[TrackWarning, ...]:
    """Return the warnings in a job's column `warnings`.

    Older journals contain sentences without a kind; these become notes.
    """
    return tuple(
        TrackWarning(kind=WarningKind.NOTE, text=printable(warning))
        if isinstance(warning, str)
        else TrackWarning(kind=warning.kind, text=printable(warning.text))
        for warning in _warnings.decode(text)
    )

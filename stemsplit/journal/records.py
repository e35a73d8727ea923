"""Runs in the supervisor. The words of the journal: what it is told, and what it tells.

Holds no state. A file is known by its *mark*, its size and the time it was last written to.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from stemsplit.core.compat import StrEnum
from stemsplit.core.errors import UnreachableError
from stemsplit.core.outcome import TrackWarning, WarningKind
from stemsplit.core.settings import AUTOMATIC, LOADERS, Settings
from stemsplit.core.text import printable, quoted
from stemsplit.core.units import Count, Moment
from stemsplit.storage import remote
from stemsplit.storage.untrusted import OutsideError, is_name, require_inside

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stemsplit.core.job import Job
    from stemsplit.core.outcome import Reason

MODIFY_WINDOW_NS = 2 * 10**9
"""Two times that are not farther apart are taken for the same: FAT keeps even seconds alone, and
network disks may round a time after it was read for the first time."""

_HOUR_NS = 3600 * 10**9
"""FAT keeps the time on the wall, so that all times shift by this when daylight saving begins."""


class JobState(StrEnum):
    """How far a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    PUBLISHING = "publishing"
    DONE = "done"
    FAILED = "failed"


class Stem(msgspec.Struct, frozen=True, array_like=True):
    """A stem's file.

    Attributes:
        work_name: its file in the work folder.
        path: its file below the output folder.
        size_bytes, modified_ns: what tells it from one that somebody has changed.
    """

    work_name: str
    path: bytes
    size_bytes: int
    modified_ns: int

    @property
    def mark(self) -> tuple[int, int]:
        """Its size and time."""
        return self.size_bytes, self.modified_ns

    def is_at(self, output: bytes) -> bool:
        """Tell whether this very file is in its place."""
        try:
            mark = mark_of(os.path.join(output, self.path))
        except OSError:
            return False
        return mark is not None and same_stem(mark, self.mark)


def same_stem(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Tell whether two marks are those of one stem, which nobody has changed.

    A time that is off by an hour is the same one, as for `robocopy /DST`. No content is compared:
    the worst that can follow is that a stem is replaced that somebody has edited without a change
    of its size, an hour to the second after it was written, and that is to be made again anyway.
    """
    return same_mark(one, other) or an_hour_apart(one, other)


def an_hour_apart(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Tell whether two marks differ by an hour of time and by nothing else."""
    apart = abs(one[1] - other[1])
    return one[0] == other[0] and abs(apart - _HOUR_NS) <= MODIFY_WINDOW_NS


def same_mark(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Tell whether two marks, each a size and a time in nanoseconds, are those of one file."""
    return one[0] == other[0] and abs(one[1] - other[1]) <= MODIFY_WINDOW_NS


def mark_of(path: bytes) -> tuple[int, int] | None:
    """Give a file's size and time of change, by which it is known; None if there is none."""
    if remote.is_remote(path):
        try:
            there = remote.status(path)
        except UnreachableError as error:
            raise OSError(errno.EIO, error.message) from error
        return None if there is None else remote_mark(there)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def remote_mark(there: remote.Status) -> tuple[int, int]:
    """Give what a remote file is known by: its size alone, since a copy has a time of its own."""
    return there.size_bytes, 0


def coming_stems(staging: Path, moves: Mapping[str, Path], output: Path) -> list[Stem]:
    """Describe files of a work folder that are about to be shown.

    Args:
        staging: the work folder.
        moves: for each file in it, the path to be shown as.
        output: the folder for all stems.

    Raises:
        OSError: if one is not there.
    """
    coming = []
    for name, path in moves.items():
        status = (staging / name).stat()
        below = os.path.relpath(os.fsencode(path), os.fsencode(output))
        modified_ns = 0 if remote.is_remote(path) else status.st_mtime_ns
        coming.append(Stem(name, below, status.st_size, modified_ns))
    return coming


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """A file that may be replaced: as it was published, or agreed to.

    Attributes:
        place: of the job that it belongs to.
        mark: its size and time.
    """

    place: bytes
    mark: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What stems are made of and how; those that have the same are the same.

    Attributes:
        source_bytes: size of the source.
        source_modified_ns: when it was last written to, in nanoseconds since 1970.
        settings: as `settings_key` gives them.
        sample: of the source's content (`stemsplit.library.probe.sample_of`); empty if unknown.
    """

    source_bytes: int
    source_modified_ns: int
    settings: str
    sample: bytes = b""

    @property
    def source_mark(self) -> tuple[int, int]:
        """Size and time of the source."""
        return self.source_bytes, self.source_modified_ns

    def has_source_of(self, other: Wanted) -> bool:
        """Tell whether both are made of the same source.

        If its times are an hour apart, the samples must be equal, and known: a recorder that
        writes a file every hour makes it anew, with the same size.
        """
        one, two = self.source_mark, other.source_mark
        if same_mark(one, two):
            return True
        return an_hour_apart(one, two) and self.sample == other.sample != b""

    def equals(self, other: Wanted | None) -> bool:
        """Tell whether both have the same source and settings."""
        return other is not None and self.settings == other.settings and self.has_source_of(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the journal knows of the job at one place.

    Attributes:
        source: the audio file, absolute.
        wanted: when it was last to be done.
        published: what the stems have that are there; None if there are none.
        version: of stemsplit, when it was last tried.
        state: how far it is.
        reason: of its last end; None if it never ended.
        message: of a failure.
        remedy: of a failure.
    """

    source: bytes
    wanted: Wanted
    published: Wanted | None
    version: str
    state: JobState
    reason: Reason | None
    message: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A job to be enlisted.

    Attributes:
        job: the track.
        wanted: of it.
        predicted_seconds: of audio.
        state: `waiting`, or what an earlier run has left.
        agreed: for a job whose stems are to be replaced whatever they are, the files that are
            there, by their paths below the output folder, with size and time. None for all others.
    """

    job: Job
    wanted: Wanted
    predicted_seconds: float
    state: JobState
    agreed: Mapping[bytes, tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """A finished attempt of an earlier run on this machine, for predictions."""

    lean: bool
    threads: int
    private_bytes: int | None
    audio_seconds: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """What a dead run has left.

    Attributes:
        place: of the job.
        state: that it had.
        coming: the stems that were being published.
        staging_folders: of its attempts that have no end.
    """

    place: bytes
    state: JobState
    coming: tuple[Stem, ...]
    staging_folders: tuple[Path, ...]


class Run(NamedTuple):
    """One run of the command; see the schema."""

    began: Moment
    ended: Moment | None
    exit_code: int | None
    unrecorded: Count
    overwrite: int


class Summary(Protocol):
    """What the journal keeps of a run's end; `stemsplit.batch.events.BatchDone` is one."""

    @property
    def exit_code(self) -> int:
        """What the command returns."""

    @property
    def seconds(self) -> float:
        """Wall time of the batch."""

    @property
    def audio_seconds(self) -> float:
        """Audio separated in it."""

    @property
    def peak_memory_bytes(self) -> int | None:
        """Of all processes together."""


def settings_key(settings: Settings) -> str:
    """Give what of the settings the stems depend on, in a form that can be compared.

    Whether damage is accepted is not in it: the stems of a healthy file do not depend on that.

    Of those that came later, only what differs from the default is in it: a version that can do
    more then does not do everything again.
    """
    values = msgspec.structs.asdict(settings)
    del values["threads"], values["accept_damaged"]
    if settings.engine in {AUTOMATIC, *LOADERS}:
        # Engines give the same stems, to 1e-5: a library that was begun with one is finished with
        # another. The name is that of the only one there was once, so that old journals hold.
        values["engine"] = LOADERS["tensorflow"]
    usual = msgspec.structs.asdict(Settings())
    always = {"model", "format", "bit_depth", "tags", "engine"}
    kept = {name: value for name, value in values.items() if name in always or value != usual[name]}
    return msgspec.json.encode(kept, order="sorted").decode()


_warnings: msgspec.json.Decoder[tuple[TrackWarning | str, ...]] = msgspec.json.Decoder(
    tuple[TrackWarning | str, ...]
)


def warnings_of(text: str) -> tuple[TrackWarning, ...]:
    """Read a job's warnings as the journal keeps them, in JSON.

    Before warnings had kinds they were sentences alone. Their kind is not known: they read as
    notes.
    """
    return tuple(
        TrackWarning(kind=WarningKind.NOTE, text=printable(one))
        if isinstance(one, str)
        else TrackWarning(kind=one.kind, text=printable(one.text))
        for one in _warnings.decode(text)
    )


_refused: msgspec.json.Decoder[tuple[tuple[str, str, str], ...]] = msgspec.json.Decoder(
    tuple[tuple[str, str, str], ...]
)


def refused_of(text: str) -> tuple[tuple[str, str, str], ...]:
    """Read the inputs of a run that are no tracks: source, reason and message of each."""
    return tuple(
        (printable(source), printable(reason), printable(message))
        for source, reason, message in _refused.decode(text)
    )


_stems: msgspec.msgpack.Decoder[tuple[Stem, ...]] = msgspec.msgpack.Decoder(tuple[Stem, ...])


def coming_of(packed: bytes | None) -> tuple[Stem, ...]:
    """Read the stems that were being published, as the journal keeps them.

    Raises:
        OutsideError: if one would be moved from or to somewhere else than it should be.
    """
    stems = () if packed is None else _stems.decode(packed)
    for stem in stems:
        require_inside(stem.path)
        if not is_name(os.fsencode(stem.work_name)):
            raise OutsideError(f"{quoted(stem.work_name)} is no name of a file")
    return stems


def places_below(job: Job, output: Path) -> dict[str, bytes]:
    """Give the path of each stem below the output folder."""
    folder = os.path.relpath(job.destination, os.fsencode(output))
    return {
        stem: os.path.normpath(os.path.join(folder, file))
        for stem, file in zip(job.stems, job.files, strict=True)
    }


def place_of(job: Job, output: Path) -> bytes:
    """Give what a job is found by, a path below the output folder.

    It does not depend on which stems are written, so that a job stays the same when others are
    wanted.
    """
    folder = os.path.relpath(job.destination, os.fsencode(output))
    return os.path.normpath(os.path.join(folder, job.anchor))

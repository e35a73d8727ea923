"""Runs in the supervisor. Inspects which stems of a track exist, in files and in the journal."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.text import quoted
from stemsplit.journal.fingerprints import is_same_stem
from stemsplit.journal.job_records import job_key, stem_paths

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from pathlib import Path

    from stemsplit.core.job import Job
    from stemsplit.journal.job_records import JobRecord
    from stemsplit.journal.stem_records import OwnedFile
    from stemsplit.library.destinations import PlannedTrack
    from stemsplit.storage.remote_files import FileStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingFiles:
    """The files at the destinations of a job's stems.

    Attributes:
        fingerprints: of each stem's file that exists (`stemsplit.journal.fingerprints`), by stem.
        obstacle: a sentence about what blocks a destination or makes it inaccessible; empty if
            nothing does.
        overwrites_source: whether one of the files is a source of the batch, this track's or
            another's.
    """

    fingerprints: dict[str, tuple[int, int]]
    obstacle: str = ""
    overwrites_source: bool = False


class SourceFiles:
    """The device and inode numbers of a batch's sources, read at the first lookup."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Store the paths."""
        self._paths = paths
        self._inodes: frozenset[tuple[int, int]] | None = None

    def __contains__(self, inode: object) -> bool:
        """Return whether a source has this device and inode number."""
        if self._inodes is None:
            self._inodes = frozenset(self._read_inodes())
        return inode in self._inodes

    def _read_inodes(self) -> Iterator[tuple[int, int]]:
        for path in self._paths:
            with contextlib.suppress(OSError):
                status = path.stat()
                yield status.st_dev, status.st_ino


def inspect_destination(job: Job, sources: Container[tuple[int, int]] = ()) -> ExistingFiles:
    """Inspect the destinations of a job's stems.

    `sources` are the device and inode numbers of all sources of the batch, which are never
    overwritten.
    """
    fingerprints: dict[str, tuple[int, int]] = {}
    overwrites_source = False
    for stem, path in job.paths.items():
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            # Windows reports a path below a file as missing.
            obstacle = path if path.is_symlink() else _file_above(path)
            if obstacle is not None:
                return _blocked(f"{quoted(obstacle)} is in the way of its stems.")
            continue
        except OSError as error:
            return _blocked(f"{quoted(path)} cannot be accessed ({error.strerror}).")
        if not stat.S_ISREG(status.st_mode):
            return _blocked(f"{quoted(path)} is in the way of its stems.")
        fingerprints[stem] = (status.st_size, status.st_mtime_ns)
        overwrites_source = overwrites_source or (status.st_dev, status.st_ino) in sources
    return ExistingFiles(fingerprints=fingerprints, overwrites_source=overwrites_source)


def inspect_remote_destination(
    job: Job, files: Mapping[Path, FileStatus], sources: Container[Path]
) -> ExistingFiles:
    """Inspect the destinations of a job's stems on remote storage.

    `files` are those in the output folder; `sources` of the batch are never overwritten.
    """
    found = {stem: files.get(path) for stem, path in job.paths.items()}
    return ExistingFiles(
        fingerprints={
            stem: status.fingerprint for stem, status in found.items() if status is not None
        },
        overwrites_source=any(path in sources for path in job.paths.values()),
    )


def _blocked(obstacle: str) -> ExistingFiles:
    return ExistingFiles(fingerprints={}, obstacle=obstacle)


def _file_above(path: Path) -> Path | None:
    """Return the file that stands where a parent folder must be, None if there is none."""
    for folder in path.parents:
        if folder.is_dir():
            return None
        if folder.exists() or folder.is_symlink():
            return folder
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalKnowledge:
    """What the journal knows about a job and the files at its destinations.

    Attributes:
        record: the job's record; None if it has none.
        owned: the stems whose files may be replaced: they are this job's, unchanged since they were
            published.
        is_moved: whether the recorded source no longer exists, or is the same file under another
            path.
    """

    record: JobRecord | None
    owned: frozenset[str]
    is_moved: bool = False


def look_up(
    planned: PlannedTrack,
    existing: ExistingFiles,
    records: Mapping[bytes, JobRecord],
    owned: Mapping[bytes, OwnedFile],
    output: Path,
) -> JournalKnowledge:
    """Look up a track in the journal's records of jobs by key, and of owned files by path."""
    if not records:
        return JournalKnowledge(record=None, owned=frozenset())
    paths, key = stem_paths(planned.job, output), job_key(planned.job, output)
    record = records.get(key)
    return JournalKnowledge(
        record=record,
        is_moved=record is not None and _has_moved(record.source, planned.job.source),
        owned=frozenset(
            stem
            for stem, fingerprint in existing.fingerprints.items()
            if (file := owned.get(paths[stem])) is not None
            and file.job_key == key
            and is_same_stem(file.fingerprint, fingerprint)
        ),
    )


def _has_moved(recorded: bytes, source: bytes) -> bool:
    if recorded == os.path.abspath(source):
        return False
    try:
        return os.path.samefile(recorded, source)
    except OSError:
        return not os.path.lexists(recorded)

"""Runs in the supervisor. What becomes of a track: done, left, refused, and why.

Decides by the journal's records and by what lies in the output folder, and changes nothing.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from stemsplit.core.outcome import Reason
from stemsplit.core.text import quoted
from stemsplit.journal.records import (
    JobState,
    Owned,
    Wanted,
    place_of,
    places_below,
    remote_mark,
    same_stem,
)

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from pathlib import Path

    from stemsplit.core.job import Job
    from stemsplit.journal.records import Record
    from stemsplit.library.destinations import Clash, PlannedTrack
    from stemsplit.storage.remote import Status

STAYS_FAILED = frozenset(
    {
        Reason.BAD_INPUT,
        Reason.CRASHED,
        Reason.DAMAGED,
        Reason.NODE_LOST,
        Reason.NO_RESULT,
        Reason.OVER_RAM_CAP,
        Reason.STALLED,
        Reason.TIMED_OUT,
    }
)
"""Failures that lie with the track. Another run leaves it alone unless it is asked to try again;
what lay with the machine or with a person (a full disk, an interruption) it tries again anyway."""


class Action(Enum):
    """What becomes of a track: it is done, left as it is, left failed, or refused."""

    DO = auto()
    LEAVE = auto()
    LEAVE_FAILED = auto()
    REFUSE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of a track, and why.

    Attributes:
        action: what becomes of it.
        why: half a sentence for the plan; a whole one where it is refused or left failed.
        remedy: what to do where it is refused.
        reason: of the earlier failure.
    """

    action: Action
    why: str
    remedy: str = ""
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedoPolicy:
    """What a person wants done again.

    Attributes:
        settings: of this run, as `stemsplit.journal.writer.settings_key` gives them.
        version: of stemsplit.
        overwrite: whether everything is done again.
        retry_failed: whether what has failed is tried again.
        accept_damaged: whether what has failed as damaged is tried again.
        recovered: whether what a dead run has left was brought in order before.
    """

    settings: str
    version: str
    overwrite: bool = False
    retry_failed: bool = False
    accept_damaged: bool = False
    recovered: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What lies at the places of a job's stems.

    Attributes:
        marks: for each stem that is there its file's size and time of change.
        trouble: a sentence about what is in the way or cannot be looked at; empty if nothing is.
        covers_source: whether one of them is a source, its own or another track's.
    """

    marks: dict[str, tuple[int, int]]
    trouble: str = ""
    covers_source: bool = False


def see(job: Job, sources: Container[tuple[int, int]] = ()) -> Seen:
    """Look at the places of a job's stems.

    Args:
        job: the track.
        sources: devices and inodes of all sources of the batch, which nothing may be written over.
    """
    marks: dict[str, tuple[int, int]] = {}
    covers_source = False
    for stem, path in job.paths.items():
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            # Windows does not tell a file in the place of a folder from nothing at all.
            obstacle = path if path.is_symlink() else _file_above(path)
            if obstacle is not None:
                return Seen(marks={}, trouble=f"{quoted(obstacle)} is in the way of its stems.")
            continue
        except OSError as error:
            text = f"{quoted(path)} cannot be looked at ({error.strerror})."
            return Seen(marks={}, trouble=text)
        if not stat.S_ISREG(status.st_mode):
            return Seen(marks={}, trouble=f"{quoted(path)} is in the way of its stems.")
        marks[stem] = (status.st_size, status.st_mtime_ns)
        covers_source = covers_source or (status.st_dev, status.st_ino) in sources
    return Seen(marks=marks, covers_source=covers_source)


def see_remote(job: Job, shown: Mapping[Path, Status], sources: Container[Path]) -> Seen:
    """Look at the places of a job's stems on remote storage.

    Args:
        job: the track.
        shown: all that lies in the output folder.
        sources: of the batch, which nothing may be written over.
    """
    at = {stem: shown.get(path) for stem, path in job.paths.items()}
    return Seen(
        marks={stem: remote_mark(there) for stem, there in at.items() if there is not None},
        covers_source=any(path in sources for path in job.paths.values()),
    )


def _file_above(path: Path) -> Path | None:
    """Find a file that is where a folder must be."""
    for folder in path.parents:
        if folder.is_dir():
            return None
        if folder.exists() or folder.is_symlink():
            return folder
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the journal knows of a job's places.

    Attributes:
        record: of the job; None if nothing.
        owned: the stems whose files may be replaced: this job's, and as they were published.
        moved: whether the source that the journal knows is not there any more, or is the same file
            by another path.
    """

    record: Record | None
    owned: frozenset[str]
    moved: bool = False


def known(
    planned: PlannedTrack,
    seen: Seen,
    records: Mapping[bytes, Record],
    owned: Mapping[bytes, Owned],
    output: Path,
) -> Known:
    """Look up what the journal knows.

    Args:
        planned: the track.
        seen: what lies at its places.
        records: of all jobs, by place.
        owned: all files that may be replaced, by path below the output folder.
        output: the folder for all stems.
    """
    if not records:
        return Known(record=None, owned=frozenset())
    below, place = places_below(planned.job, output), place_of(planned.job, output)
    record = records.get(place)
    return Known(
        record=record,
        moved=record is not None and _has_moved(record.source, planned.job.source),
        owned=frozenset(
            stem for stem, mark in seen.marks.items() if _owns(owned.get(below[stem]), place, mark)
        ),
    )


def _owns(file: Owned | None, place: bytes, mark: tuple[int, int]) -> bool:
    return file is not None and file.place == place and same_stem(file.mark, mark)


def _has_moved(known_source: bytes, source: bytes) -> bool:
    if known_source == os.path.abspath(source):
        return False
    try:
        return os.path.samefile(known_source, source)
    except OSError:
        return not os.path.lexists(known_source)


def decide(planned: PlannedTrack, seen: Seen, what: Known, redo_policy: RedoPolicy) -> Decision:
    """Decide what becomes of a track.

    Args:
        planned: the track.
        seen: what lies at the places of its stems.
        what: what the journal knows of them.
        redo_policy: what is wanted done again.
    """
    refusal = _refusal(planned, seen, what)
    if refusal is not None:
        return refusal
    record = what.record
    if redo_policy.overwrite:
        new = record is None and not seen.marks
        return Decision(action=Action.DO, why="new" if new else "to be overwritten")
    if record is None:
        return _of_unknown(planned.job, seen)
    wanted = wanted_of(planned, redo_policy)
    is_same = record.source == os.path.abspath(planned.job.source)
    if not is_same and not (what.moved and _same_source(wanted, record)):
        return _of_another(planned.job, seen, record)
    if record.state is JobState.PUBLISHING:
        return _half_shown(record, redo_policy)
    return _of_known(planned.job, seen, record, what.owned, wanted, redo_policy)


def _refusal(planned: PlannedTrack, seen: Seen, what: Known) -> Decision | None:
    """Refuse what cannot be, whatever is wished; None if nothing stands against it."""
    if seen.trouble:
        return Decision(
            action=Action.REFUSE,
            why=seen.trouble,
            remedy="Move it away, or name another folder with -o.",
        )
    if seen.covers_source:
        return Decision(
            action=Action.REFUSE,
            why="A source would be written over by what is made of "
            f"{quoted(planned.job.source)}: {quoted(next(iter(planned.job.paths.values())))}.",
            remedy="Name another folder with -o.",
        )
    if planned.clash is not None and not _holds_its_place(planned, what):
        return _of_clash(planned.clash)
    return None


def _holds_its_place(planned: PlannedTrack, what: Known) -> bool:
    """Tell whether a track has had its place before another one wanted it as well."""
    record = what.record
    return (
        record is not None
        and record.published is not None
        and record.source == os.path.abspath(planned.job.source)
    )


def _of_clash(clash: Clash) -> Decision:
    return Decision(
        action=Action.REFUSE,
        why=f"{quoted(clash.other)} would be written to {quoted(clash.path)} as well.",
        remedy=f"Tell them apart, for example by --name '{clash.example}', or rename one.",
    )


def wanted_of(planned: PlannedTrack, redo_policy: RedoPolicy) -> Wanted:
    """Give what the stems of a track are to have."""
    return Wanted(
        source_bytes=planned.probe.size_bytes,
        source_modified_ns=planned.probe.modified_ns,
        settings=redo_policy.settings,
        sample=planned.probe.sample,
    )


def _same_source(wanted: Wanted, record: Record) -> bool:
    """Tell whether a file that lies elsewhere now is the one that the journal knows."""
    known_ones = (record.wanted, record.published)
    return any(one is not None and one.has_source_of(wanted) for one in known_ones)


def _of_unknown(job: Job, seen: Seen) -> Decision:
    if not seen.marks:
        return Decision(action=Action.DO, why="new")
    if len(seen.marks) == len(job.stems):
        return Decision(action=Action.LEAVE, why="its files are there, though in no journal")
    return Decision(
        action=Action.REFUSE,
        why=f"{quoted(job.paths[next(iter(seen.marks))])} exists, but other stems of it do not.",
        remedy="Use --overwrite to replace it, or another folder with -o.",
    )


def _of_another(job: Job, seen: Seen, record: Record) -> Decision:
    """Decide about a track whose places another file's stems have had."""
    if not seen.marks:
        return Decision(action=Action.DO, why="new")
    return Decision(
        action=Action.REFUSE,
        why=f"{quoted(job.paths[next(iter(seen.marks))])} is a stem of another file, "
        f"{quoted(record.source)}.",
        remedy="Name another folder with -o, tell them apart by --name, or use --overwrite.",
    )


def _half_shown(record: Record, redo_policy: RedoPolicy) -> Decision:
    if not redo_policy.recovered:
        return Decision(action=Action.LEAVE, why="done; the next run puts its stems in place")
    return Decision(
        action=Action.REFUSE,
        why="Some of its stems are in place, and the others are on disk but could not be put "
        f"beside them. {record.message}".rstrip(),
        remedy="Look for what is in their way, and run the same command again.",
    )


def _of_known(
    job: Job,
    seen: Seen,
    record: Record,
    owned: frozenset[str],
    wanted: Wanted,
    redo_policy: RedoPolicy,
) -> Decision:
    gone = [stem for stem in job.stems if stem not in seen.marks]
    if wanted.equals(record.published) and not gone:
        return Decision(action=Action.LEAVE, why="done")
    if _stays_failed(record, wanted, redo_policy):
        return Decision(
            action=Action.LEAVE_FAILED,
            why=record.message,
            remedy=_how_to_try_again(record),
            reason=record.reason,
        )
    why = _why_again(record, wanted, redo_policy, gone)
    strange = [stem for stem in seen.marks if stem not in owned]
    if not strange:
        return Decision(action=Action.DO, why=why)
    if not owned and record.published is None:
        return _of_unknown(job, seen)
    return Decision(
        action=Action.REFUSE,
        why=f"It is to be done again ({why}), but {quoted(job.paths[strange[0]])} was changed by "
        "somebody.",
        remedy="Use --overwrite to replace it, or another folder with -o.",
    )


def _stays_failed(record: Record, wanted: Wanted, redo_policy: RedoPolicy) -> bool:
    return (
        record.state is JobState.FAILED
        and record.wanted.equals(wanted)
        and record.reason in STAYS_FAILED
        and record.version == redo_policy.version
        and not _is_wanted_again(record, redo_policy)
    )


def _is_wanted_again(record: Record, redo_policy: RedoPolicy) -> bool:
    """Tell whether what has failed is to be tried again.

    A track that failed as damaged can be done once damage is accepted, without a second option.
    """
    return redo_policy.retry_failed or (
        record.reason is Reason.DAMAGED and redo_policy.accept_damaged
    )


def _how_to_try_again(record: Record) -> str:
    if record.reason is Reason.DAMAGED:  # with --retry-failed alone it would fail again
        return record.remedy
    return f"{record.remedy} With --retry-failed it is tried again.".lstrip()


def _why_again(record: Record, wanted: Wanted, redo_policy: RedoPolicy, gone: Sequence[str]) -> str:
    """Say why a track is done, again or at last."""
    published = record.published
    if record.state is JobState.FAILED and record.wanted.equals(wanted):
        if record.version != redo_policy.version:
            return f"failed under stemsplit {record.version}"
        wanted_again = _is_wanted_again(record, redo_policy)
        return "failed, to be tried again" if wanted_again else f"not done ({record.reason})"
    if published is None:
        return "not done yet"
    if not published.has_source_of(wanted):
        return "the file has changed"
    if published.settings != wanted.settings:
        return "the settings have changed"
    return f"its stems are gone: {', '.join(gone)}"

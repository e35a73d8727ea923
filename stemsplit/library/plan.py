"""Runs in the supervisor. Tracks to jobs: where the stems of each will go, and what is left to do.

Decides by names, by the journal's records and by what lies in the output folder, and changes
nothing.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.errors import UsageError
from stemsplit.job import Job, Reason
from stemsplit.library.journal import JobState
from stemsplit.library.naming import same_place
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from stemsplit.job import StemFormat
    from stemsplit.library.journal import Record, Stem
    from stemsplit.library.naming import Template
    from stemsplit.library.probe import Probe, Tags
    from stemsplit.library.scan import Track

STAYS_FAILED = frozenset(
    {
        Reason.BAD_INPUT,
        Reason.CRASHED,
        Reason.NO_RESULT,
        Reason.OVER_RAM_CAP,
        Reason.STALLED,
        Reason.TIMED_OUT,
    }
)
"""Failures that lie with the track. Another run leaves it alone unless it is asked to try again;
what lay with the machine or with a person (a full disk, an interruption) it tries again anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A track with a first look into it and the places of its stems."""

    track: Track
    probe: Probe
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Namer:
    """Names stems.

    Attributes:
        output: the folder for all stems.
        template: of their names below it.
        model: the name of what separates them.
        stems: of the model.
        ext: the ending of their files, without a dot.
    """

    output: Path
    template: Template
    model: str
    stems: tuple[str, ...]
    ext: StemFormat

    def job(self, track: Track, tags: Tags) -> Job:
        """Give the places of a track's stems."""
        files = self.template.files(track, tags, self.stems, model=self.model, ext=self.ext)
        return Job.of(track.path, {stem: self.output / file for stem, file in files.items()})


def place(
    tracks: Iterable[tuple[Track, Probe]], namer: Namer, stem_names: frozenset[str]
) -> list[Placed]:
    """Give the stems of each track their places.

    Stems of an earlier run that lie among the inputs, as they do where a library is separated into
    itself, are no tracks: what bears the name, its ending aside, that a stem of another track has.

    Args:
        tracks: what was found.
        namer: names stems.
        stem_names: every name that a stem of any model has.

    Raises:
        UsageError: if two stems would share a place, with the tracks.
    """
    found = list(tracks)
    inside = _lying_inside(found, namer.output)
    own = _own_stems(found, namer, stem_names) if inside else frozenset()
    placed: list[Placed] = []
    for track, probe in found:
        if track.path in inside and os.path.splitext(inside[track.path])[0] in own:
            continue
        placed.append(Placed(track=track, probe=probe, job=namer.job(track, probe.tags)))
    _refuse_clashes(placed)
    return placed


def _lying_inside(tracks: Sequence[tuple[Track, Probe]], output: Path) -> dict[Path, str]:
    """Give the real paths of those tracks that lie in the output folder."""
    top = os.path.join(os.path.realpath(output), "")
    folders = {track.path.parent for track, _ in tracks}
    real = {folder: os.path.join(os.path.realpath(folder), "") for folder in folders}
    return {
        track.path: real[track.path.parent] + track.path.name
        for track, _ in tracks
        if real[track.path.parent].startswith(top)
    }


def _own_stems(
    tracks: Sequence[tuple[Track, Probe]], namer: Namer, stem_names: frozenset[str]
) -> frozenset[str]:
    """Give the real paths, without endings, that stems of these tracks may have."""
    top = os.path.realpath(namer.output)
    stems = sorted(stem_names)
    return frozenset(
        os.path.splitext(os.path.join(top, path))[0]
        for track, probe in tracks
        for path in namer.template.files(
            track, probe.tags, stems, model=namer.model, ext=namer.ext
        ).values()
    )


def _refuse_clashes(placed: Sequence[Placed]) -> None:
    clashes = list(_clashes(placed))
    if not clashes:
        return
    one, other, path = clashes[0]
    more = f" There are {len(clashes) - 1} more such pairs." if len(clashes) > 1 else ""
    raise UsageError(
        f"{quoted(one.job.source)} and {quoted(other.job.source)} would both be written to "
        f"{quoted(path)}.{more}",
        "Tell them apart by --name, for example with {source_ext} or {id} in it: "
        "--name '{relpath}/{track}.{source_ext}/{stem}.{ext}'; or rename one.",
    )


def _clashes(placed: Sequence[Placed]) -> Iterator[tuple[Placed, Placed, Path]]:
    """Find tracks that want the same place, or one's file where the other wants a folder."""
    owners: dict[str, Placed] = {}
    folders: dict[str, Placed] = {}
    for one in placed:
        for path in one.job.paths.values():
            other = owners.setdefault(same_place(path), one)
            if other is not one:
                yield other, one, path
                break
            folders.setdefault(same_place(path.parent), one)
    for folder, one in folders.items():
        for above in _upwards(folder):
            if above in owners:
                yield owners[above], one, Path(above)
                break


def _upwards(folder: str) -> Iterator[str]:
    while folder != os.path.dirname(folder):
        yield folder
        folder = os.path.dirname(folder)


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
class Wish:
    """What a person wants done again.

    Attributes:
        settings: of this run, as `stemsplit.library.journal.settings_key` gives them.
        version: of stemsplit.
        overwrite: whether everything is done again.
        retry_failed: whether what has failed is tried again.
    """

    settings: str
    version: str
    overwrite: bool = False
    retry_failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What lies at the places of a job's stems.

    Attributes:
        files: for each stem its file's size and time of change; None where there is none.
        obstacle: what is no folder where one must be, or the other way round; None if nothing is.
    """

    files: dict[str, tuple[int, int] | None]
    obstacle: Path | None = None

    @property
    def present(self) -> list[str]:
        """The stems that are there."""
        return [stem for stem, file in self.files.items() if file is not None]


def see(job: Job, output: Path) -> Seen:
    """Look at the places of a job's stems."""
    files: dict[str, tuple[int, int] | None] = {}
    for stem, path in job.paths.items():
        try:
            status = path.stat()
        except NotADirectoryError:
            return Seen(files={}, obstacle=_file_above(path, output))
        except OSError:
            files[stem] = None
            continue
        if stat.S_ISDIR(status.st_mode):
            return Seen(files={}, obstacle=path)
        files[stem] = (status.st_size, status.st_mtime_ns)
    return Seen(files=files)


def _file_above(path: Path, output: Path) -> Path:
    for folder in path.parents:
        if folder.exists() and not folder.is_dir():
            return folder
    return output


def decide(placed: Placed, seen: Seen, record: Record | None, wish: Wish, output: Path) -> Decision:
    """Decide what becomes of a track.

    Args:
        placed: the track.
        seen: what lies at the places of its stems.
        record: what the journal knows of these places; None if nothing.
        wish: what is wanted done again.
        output: the folder for all stems.
    """
    if seen.obstacle is not None:
        return Decision(
            action=Action.REFUSE,
            why=f"{quoted(seen.obstacle)} is in the way of its stems.",
            remedy="Move it away, or name another folder with -o.",
        )
    if record is None:
        return _of_unknown(placed.job, seen, wish)
    if wish.overwrite:
        return Decision(action=Action.DO, why="to be overwritten")
    if record.source != os.path.abspath(placed.job.source):
        return _of_another(placed, seen, record, output)
    return _of_known(placed, seen, record, wish, output)


def _of_unknown(job: Job, seen: Seen, wish: Wish) -> Decision:
    present = seen.present
    if not present:
        return Decision(action=Action.DO, why="new")
    if wish.overwrite:
        return Decision(action=Action.DO, why="to be overwritten")
    if len(present) == len(job.stems):
        return Decision(action=Action.LEAVE, why="its stems are there, though in no journal")
    return Decision(
        action=Action.REFUSE,
        why=f"{quoted(job.paths[present[0]])} exists, but other stems of it do not.",
        remedy="Use --overwrite to replace it, or another folder with -o.",
    )


def _of_another(placed: Placed, seen: Seen, record: Record, output: Path) -> Decision:
    """Decide about a track whose places another file's stems have had."""
    if not seen.present:
        return Decision(action=Action.DO, why="new")
    if record.state is JobState.DONE and _is_unchanged(placed, record):
        return Decision(
            action=Action.LEAVE,
            why=f"done as {quoted(record.source)}, which it equals in size and time",
        )
    return Decision(
        action=Action.REFUSE,
        why=f"{quoted(output / os.fsdecode(record.stems[0].path) if record.stems else output)} "
        f"holds a stem of another file, {quoted(record.source)}.",
        remedy="Name another folder with -o, tell them apart by --name, or use --overwrite.",
    )


def _of_known(placed: Placed, seen: Seen, record: Record, wish: Wish, output: Path) -> Decision:
    why = _why_again(placed, seen, record, wish)
    if why is None:
        if record.state is JobState.DONE:
            return Decision(action=Action.LEAVE, why="done")
        return Decision(
            action=Action.LEAVE_FAILED,
            why=record.message,
            remedy=f"{record.remedy} With --retry-failed it is tried again.".lstrip(),
            reason=record.reason,
        )
    if not record.stems and seen.present:
        return _of_unknown(placed.job, seen, wish)
    changed = _changed_since(placed.job, seen, record.stems, output)
    if changed is not None:
        return Decision(
            action=Action.REFUSE,
            why=f"It is to be done again ({why}), but {quoted(changed)} was changed by somebody.",
            remedy="Use --overwrite to replace it, or another folder with -o.",
        )
    return Decision(action=Action.DO, why=why)


def _why_again(placed: Placed, seen: Seen, record: Record, wish: Wish) -> str | None:
    """Say why a track is done again; None if it is not."""
    if not _is_unchanged(placed, record):
        return "the file has changed"
    if record.settings != wish.settings:
        return "the settings have changed"
    if record.state is JobState.DONE:
        gone = [stem for stem, file in seen.files.items() if file is None]
        return f"its stems are gone: {', '.join(gone)}" if gone else None
    if record.state is JobState.FAILED:
        return _why_after_failure(record, wish)
    return "not done yet"


def _why_after_failure(record: Record, wish: Wish) -> str | None:
    if wish.retry_failed:
        return "failed, to be tried again"
    if record.reason not in STAYS_FAILED:
        return f"not done yet ({record.reason})"
    return None if record.version == wish.version else f"failed under stemsplit {record.version}"


def _is_unchanged(placed: Placed, record: Record) -> bool:
    probe = placed.probe
    return (probe.size_bytes, probe.modified_ns) == (
        record.source_bytes,
        record.source_modified_ns,
    )


def _changed_since(job: Job, seen: Seen, stems: Sequence[Stem], output: Path) -> Path | None:
    """Find a file that would be replaced, and is not as it was published."""
    known = {output / os.fsdecode(stem.path): (stem.size_bytes, stem.modified_ns) for stem in stems}
    for stem, path in job.paths.items():
        file = seen.files[stem]
        if file is not None and known.get(path) != file:
            return path
    return None

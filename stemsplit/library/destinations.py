"""Runs in the supervisor. Assigns destinations to stems, and detects collisions."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.core.job import Job
from stemsplit.core.settings import CONVERTED
from stemsplit.library.naming import path_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from stemsplit.core.probe import Probe, Tags
    from stemsplit.core.settings import StemFormat
    from stemsplit.library.naming import Template
    from stemsplit.library.tracks import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class Collision:
    """A collision with another track over a destination.

    Attributes:
        other: source of the other track.
        path: the destination.
        example: a name template that avoids the collision.
    """

    other: bytes
    path: Path
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrack:
    """A track with its probe and the destinations of its stems, which may collide with others."""

    track: Track
    probe: Probe
    job: Job
    collision: Collision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StemNamer:
    """Assigns paths to the stems of a track.

    Attributes:
        template: template of the paths below `output`.
        stems: the stems that are written.
        first: the model's first stem, written or not; it identifies the job.
        ext: extension of the files, without a dot.
    """

    output: Path
    template: Template
    model: str
    stems: tuple[str, ...]
    first: str
    ext: StemFormat

    def job(self, track: Track, tags: Tags) -> Job:
        """Return the job of a track: its source and the destinations of its stems."""
        wanted = dict.fromkeys((*self.stems, self.first))
        files = self.template.files(track, tags, tuple(wanted), model=self.model, ext=self.ext)
        paths = {stem: self.output / file for stem, file in files.items()}
        return Job.of(track.path, {stem: paths[stem] for stem in self.stems}, paths[self.first])


def assign_destinations(
    tracks: Iterable[tuple[Track, Probe]],
    namer: StemNamer,
    stem_names: frozenset[str],
    owned: Iterable[bytes] = (),
) -> list[PlannedTrack]:
    """Return the tracks with the destinations of their stems.

    Drops tracks that are stems of an earlier run, as in a library that is separated into itself:
    files that the journal records, and files in the output folder whose name without extension is
    that of another track's stem.

    Two tracks collide if a destination of both is the same, even if case or Unicode form differ, or
    if a destination of one is a folder of the other.

    Args:
        tracks: tracks and their probes.
        namer: assigns paths to stems.
        stem_names: names of the stems of all models.
        owned: stems that the journal records, by their paths below the output folder.
    """
    tracks = list(tracks)
    real_paths = _real_paths_inside(tracks, namer.output)
    top = os.path.realpath(namer.output)
    possible = _possible_stems(tracks, namer, stem_names) if real_paths else frozenset()
    recorded = {os.path.join(top, os.fsdecode(path)) for path in owned} if real_paths else set()
    planned_tracks: list[PlannedTrack] = []
    for track, probe in tracks:
        real = real_paths.get(track.path)
        if real is not None and (os.path.splitext(real)[0] in possible or real in recorded):
            continue
        job = namer.job(track, probe.tags)
        planned_tracks.append(PlannedTrack(track=track, probe=probe, job=job))
    collisions = dict(_collisions(planned_tracks))
    return [
        dataclasses.replace(planned, collision=collisions.get(id(planned)))
        for planned in planned_tracks
    ]


def _real_paths_inside(tracks: Sequence[tuple[Track, Probe]], output: Path) -> dict[Path, str]:
    """Return the real paths of those tracks that lie in the output folder."""
    top = os.path.join(os.path.realpath(output), "")
    folders = {track.path.parent for track, _ in tracks}
    real = {folder: os.path.join(os.path.realpath(folder), "") for folder in folders}
    return {
        track.path: real[track.path.parent] + track.path.name
        for track, _ in tracks
        if real[track.path.parent].startswith(top)
    }


def _possible_stems(
    tracks: Sequence[tuple[Track, Probe]], namer: StemNamer, stem_names: frozenset[str]
) -> frozenset[str]:
    """Return the real paths, without extensions, that stems of these tracks may have."""
    top = os.path.realpath(namer.output)
    stems = sorted(stem_names)
    return frozenset(
        os.path.splitext(os.path.join(top, path))[0]
        for track, probe in tracks
        for path in namer.template.files(
            track, probe.tags, stems, model=namer.model, ext=namer.ext
        ).values()
    )


def _collisions(tracks: Sequence[PlannedTrack]) -> Iterator[tuple[int, Collision]]:
    """Yield the collisions of tracks, each with the `id` of its track."""
    by_file: dict[str, PlannedTrack] = {}
    by_folder: dict[str, PlannedTrack] = {}
    for track in tracks:
        for path in track.job.paths.values():
            first = by_file.setdefault(path_key(path), track)
            if first is not track:
                yield from _collide(first, track, path)
                break
            by_folder.setdefault(path_key(path.parent), track)
    for folder, track in by_folder.items():
        for parent in _with_parents(folder):
            if parent in by_file:
                yield from _collide(by_file[parent], track, Path(parent))
                break


def _collide(
    first: PlannedTrack, second: PlannedTrack, path: Path
) -> Iterator[tuple[int, Collision]]:
    same_folder = first.track.path.parent == second.track.path.parent
    same_extension = first.track.path.suffix.lower() == second.track.path.suffix.lower()
    example = (
        "{foldername}/{track}"
        if not same_folder
        else "{relpath}/{track} {id}"
        if same_extension
        else "{relpath}/{track}.{source_ext}"
    )
    example += ".{ext}" if first.job.stems == (CONVERTED,) else "/{stem}.{ext}"
    for track, other in ((first, second), (second, first)):
        yield id(track), Collision(other=other.job.source, path=path, example=example)


def _with_parents(folder: str) -> Iterator[str]:
    while folder != os.path.dirname(folder):
        yield folder
        folder = os.path.dirname(folder)

"""Runs in the supervisor. Tracks to places: where the stems of each will go, and which clash.

Decides by names and by what the journal knows to be stems; changes nothing.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.core.job import Job
from stemsplit.core.settings import CONVERTED
from stemsplit.library.naming import same_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from stemsplit.core.probe import Probe, Tags
    from stemsplit.core.settings import StemFormat
    from stemsplit.library.naming import Template
    from stemsplit.library.scan import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """Two tracks want one place.

    Attributes:
        other: the other track's file.
        path: the place.
        example: a template that tells them apart.
    """

    other: bytes
    path: Path
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrack:
    """A track with a first look into it and the places of its stems.

    Attributes:
        track: the file.
        probe: the look.
        job: the places.
        clash: with another track over one of them; None if there is none.
    """

    track: Track
    probe: Probe
    job: Job
    clash: Clash | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Namer:
    """Names stems.

    Attributes:
        output: the folder for all stems.
        template: of their names below it.
        model: the name of what separates them.
        stems: that are written.
        first: the model's first stem, written or not.
        ext: the ending of their files, without a dot.
    """

    output: Path
    template: Template
    model: str
    stems: tuple[str, ...]
    first: str
    ext: StemFormat

    def job(self, track: Track, tags: Tags) -> Job:
        """Give the places of a track's stems."""
        wanted = dict.fromkeys((*self.stems, self.first))
        files = self.template.files(track, tags, tuple(wanted), model=self.model, ext=self.ext)
        paths = {stem: self.output / file for stem, file in files.items()}
        return Job.of(track.path, {stem: paths[stem] for stem in self.stems}, paths[self.first])


def place(
    tracks: Iterable[tuple[Track, Probe]],
    namer: Namer,
    stem_names: frozenset[str],
    owned: Iterable[bytes] = (),
) -> list[PlannedTrack]:
    """Give the stems of each track their places.

    Stems of an earlier run that lie among the inputs, as they do where a library is separated into
    itself, are no tracks: what the journal knows, and what bears the name, its ending aside, that a
    stem of another track has.

    Args:
        tracks: what was found.
        namer: names stems.
        stem_names: every name that a stem of any model has.
        owned: stems that the journal knows, by their paths below the output folder.

    Two tracks that want the same place clash, also where only upper and lower case or the form of
    Unicode differ; so do a stem and a folder of one name.
    """
    found = list(tracks)
    inside = _lying_inside(found, namer.output)
    own = _own_stems(found, namer, stem_names) if inside else frozenset()
    top = os.path.realpath(namer.output)
    recorded = {os.path.join(top, os.fsdecode(path)) for path in owned} if inside else set()
    planned: list[PlannedTrack] = []
    for track, probe in found:
        real = inside.get(track.path)
        if real is not None and (os.path.splitext(real)[0] in own or real in recorded):
            continue
        planned.append(PlannedTrack(track=track, probe=probe, job=namer.job(track, probe.tags)))
    clashes = dict(_clashes(planned))
    return [
        dataclasses.replace(one, clash=clashes[id(one)]) if id(one) in clashes else one
        for one in planned
    ]


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


def _clashes(planned: Sequence[PlannedTrack]) -> Iterator[tuple[int, Clash]]:
    """Find tracks that want the same place, or one's file where the other wants a folder."""
    owners: dict[str, PlannedTrack] = {}
    folders: dict[str, PlannedTrack] = {}
    for one in planned:
        for path in one.job.paths.values():
            other = owners.setdefault(same_place(path), one)
            if other is not one:
                yield from _between(other, one, path)
                break
            folders.setdefault(same_place(path.parent), one)
    for folder, one in folders.items():
        for above in _upwards(folder):
            if above in owners:
                yield from _between(owners[above], one, Path(above))
                break


def _between(one: PlannedTrack, other: PlannedTrack, path: Path) -> Iterator[tuple[int, Clash]]:
    same_folder = one.track.path.parent == other.track.path.parent
    other_ending = one.track.path.suffix.lower() != other.track.path.suffix.lower()
    example = (
        "{relpath}/{track}.{source_ext}"
        if same_folder and other_ending
        else "{relpath}/{track} {id}"
        if same_folder
        else "{foldername}/{track}"
    )
    example += ".{ext}" if one.job.stems == (CONVERTED,) else "/{stem}.{ext}"
    for me, them in ((one, other), (other, one)):
        yield id(me), Clash(other=them.job.source, path=path, example=example)


def _upwards(folder: str) -> Iterator[str]:
    while folder != os.path.dirname(folder):
        yield folder
        folder = os.path.dirname(folder)

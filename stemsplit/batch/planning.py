"""Runs in the supervisor. Plans a batch: scan, probe, assign destinations, decide."""

from __future__ import annotations

import dataclasses
import errno
import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from stemsplit.batch.decisions import Action, decide
from stemsplit.batch.existing_files import (
    SourceFiles,
    inspect_destination,
    inspect_remote_destination,
    look_up,
)
from stemsplit.core.settings import CONVERTED, RESIDUAL
from stemsplit.core.text import quoted
from stemsplit.library.destinations import StemNamer, assign_destinations
from stemsplit.library.naming import DEFAULT_NAME, DEFAULT_NAME_CONVERTED, Template
from stemsplit.library.probe import probe_file, probe_remote_file, sample_hash
from stemsplit.library.scan import scan
from stemsplit.library.tracks import Problem, unreadable
from stemsplit.models.catalogue import MODELS, find_model, stems_to_write
from stemsplit.storage.remote_files import listing
from stemsplit.storage.urls import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from stemsplit.batch.decisions import Decision
    from stemsplit.batch.existing_files import ExistingFiles, JournalKnowledge
    from stemsplit.batch.request import BatchRequest
    from stemsplit.core.job import Job
    from stemsplit.core.limits import Order
    from stemsplit.core.probe import Probe
    from stemsplit.core.settings import Settings
    from stemsplit.journal.reader import JournalReader
    from stemsplit.library.destinations import PlannedTrack
    from stemsplit.library.scan import ScanResult
    from stemsplit.library.tracks import Track

_STEM_NAMES = frozenset(stem for model in MODELS.values() for stem in model.stems) | {RESIDUAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedTrack:
    """A planned track, and the decision about it with its grounds."""

    planned: PlannedTrack
    existing: ExistingFiles
    knowledge: JournalKnowledge
    decision: Decision

    @property
    def has_untracked_files(self) -> bool:
        """Whether the track is skipped because of files that no journal knows."""
        return self.decision.action is Action.SKIP and self.knowledge.record is None


@dataclass(slots=True, kw_only=True)
class BatchPlan:
    """What a batch does with each track.

    Attributes:
        tracks: in the order in which they start.
        problems: inputs that lead to no track.
        new_probes: probes that the journal does not have yet, by the absolute path of the file.
        earlier_outputs: number of input files that are ignored because an earlier run wrote them.
    """

    tracks: list[DecidedTrack]
    problems: list[Problem]
    new_probes: dict[bytes, Probe]
    earlier_outputs: int = 0

    @property
    def untracked(self) -> int:
        """Number of tracks that are skipped because of files that no journal knows."""
        return sum(track.has_untracked_files for track in self.tracks)

    def split_at(self, limit: int | None) -> tuple[list[PlannedTrack], list[PlannedTrack]]:
        """Return the tracks to separate now, at most `limit`, and those left for another run."""
        tracks = self.with_action(Action.SEPARATE)
        count = len(tracks) if limit is None else limit
        return tracks[:count], tracks[count:]

    def with_action(self, action: Action) -> list[PlannedTrack]:
        """Return the tracks for which `action` was decided."""
        return [track.planned for track in self.tracks if track.decision.action is action]


def find_tracks(request: BatchRequest) -> ScanResult:
    """Scan the inputs of a batch. Only conversions accept stems as inputs."""
    return scan(
        request.inputs,
        request.output,
        listed=request.listed,
        listed_in=request.listed_in,
        exclusions=request.exclusions,
        with_stems=not request.settings.separates,
    )


def plan_batch(
    found: ScanResult,
    request: BatchRequest,
    journal: JournalReader | None,
    *,
    recovered: bool = True,
) -> BatchPlan:
    """Plan a batch; `recovered` is whether recovery has cleaned up after a killed run."""
    problems = list(found.problems)
    probes = _ProbeCache(journal)
    probed: list[tuple[Track, Probe]] = []
    for track in found.tracks:
        probe = probes.get(track)
        if isinstance(probe, Problem):
            problems.append(probe)
        else:
            probed.append((track, probe))
    owned = {} if journal is None else journal.owned_files()
    records = {} if journal is None else journal.job_records()
    redo_policy = dataclasses.replace(request.redo_policy, recovered=recovered)
    inspect = _inspector(request.output, [track.path for track, _ in probed])
    namer = namer_for(request.output, request.template, request.settings)
    stem_names, own_files = _ignored_outputs(request.settings, journal, owned)
    planned_tracks = assign_destinations(probed, namer, stem_names, own_files)
    tracks = []
    for planned in _ordered(planned_tracks, request.order):
        existing = inspect(planned.job)
        knowledge = look_up(planned, existing, records, owned, request.output)
        decision = decide(planned, existing, knowledge, redo_policy)
        tracks.append(
            DecidedTrack(planned=planned, existing=existing, knowledge=knowledge, decision=decision)
        )
    return BatchPlan(
        tracks=tracks,
        problems=problems,
        new_probes=probes.new,
        earlier_outputs=len(probed) - len(planned_tracks),
    )


def _inspector(output: Path, sources: list[Path]) -> Callable[[Job], ExistingFiles]:
    """Return the function that inspects the destinations of a job."""
    if is_remote(output):
        return functools.partial(
            inspect_remote_destination, files=listing(output), sources=frozenset(sources)
        )
    return functools.partial(inspect_destination, sources=SourceFiles(sources))


def _ignored_outputs(
    settings: Settings, journal: JournalReader | None, owned: Iterable[bytes]
) -> tuple[frozenset[str], Iterable[bytes]]:
    """Return the stem names and the files below the output folder that are not tracks.

    Stems are not separated again, and converted files are not converted again in their own folder.
    """
    if not settings.separates:  # a converted file has its source's name, not a stem's
        return frozenset(), owned
    return _STEM_NAMES, () if journal is None else journal.separated_files()


def template_for(settings: Settings, name: str | None = None) -> Template:
    """Return the template of a batch's file names, the default one if `name` is None or empty.

    Raises:
        UsageError: as `Template.parse` does.
    """
    default = DEFAULT_NAME if settings.separates else DEFAULT_NAME_CONVERTED
    return Template.parse(name or default, for_stems=settings.separates)


def namer_for(output: Path, template: Template, settings: Settings) -> StemNamer:
    """Return the namer of a batch's stems."""
    return StemNamer(
        output=output,
        template=template,
        model=settings.model,
        stems=stems_to_write(settings),
        first=find_model(settings.model).stems[0] if settings.separates else CONVERTED,
        ext=settings.format,
    )


class _ProbeCache:
    """Probes files, except those whose probe is in the journal."""

    def __init__(self, journal: JournalReader | None) -> None:
        self._recorded = {} if journal is None else journal.probes()
        self.new: dict[bytes, Probe] = {}

    def get(self, track: Track) -> Probe | Problem:
        """Return the probe of a track's file."""
        if track.remote_status is not None:
            return probe_remote_file(track.path, track.remote_status)
        try:
            status = track.path.stat()
            if not os.access(track.path, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            return unreadable(track.path, error)
        source = os.fsencode(track.path.absolute())
        probe = self._recorded.get(source)
        fingerprint = (status.st_size, status.st_mtime_ns)
        if probe is None or (probe.size_bytes, probe.modified_ns) != fingerprint:
            probe = self.new[source] = probe_file(track.path, status)
        elif not probe.sample:  # recorded by an earlier version
            sample = sample_hash(track.path)
            probe = self.new[source] = msgspec.structs.replace(probe, sample=sample)
        if probe.is_other:
            return Problem(
                path=track.path,
                message=f"{quoted(track.path)} is not an audio file: it contains {probe.is_other}.",
                remedy="Correct its extension, or remove it from the inputs.",
            )
        return probe


def _ordered(tracks: list[PlannedTrack], order: Order) -> list[PlannedTrack]:
    match order:
        case "given":
            return tracks
        case "path":
            return sorted(tracks, key=lambda track: track.job.source)
        case "shortest":
            return sorted(tracks, key=lambda track: track.probe.likely_seconds)
        case "newest":
            return sorted(tracks, key=lambda track: track.probe.modified_ns, reverse=True)

"""Runs in the supervisor. From what a person names to what is to be done: scan, look, name, decide.

Changes nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from stemsplit.batch.decisions import Action, decide, known, see, see_remote
from stemsplit.core.audio_info import pcm_bytes
from stemsplit.core.errors import UsageError
from stemsplit.core.formats import LOSSY, stem_rate
from stemsplit.core.settings import CONVERTED, MODEL_SAMPLE_RATE, RESIDUAL, STEREO
from stemsplit.core.text import quoted
from stemsplit.library.destinations import Namer, place
from stemsplit.library.naming import DEFAULT_NAME, DEFAULT_NAME_CONVERTED, Template
from stemsplit.library.probe import probe, probe_remote, sample_of
from stemsplit.library.scan import Problem, scan, unreadable
from stemsplit.models.catalogue import MODELS, find, written
from stemsplit.storage.remote import is_remote, listing, path_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from stemsplit.batch.decisions import Decision, Known, Seen
    from stemsplit.batch.request import BatchRequest
    from stemsplit.core.audio_info import PcmDepth
    from stemsplit.core.limits import Order
    from stemsplit.core.probe import Probe
    from stemsplit.core.settings import Settings
    from stemsplit.journal.reader import JournalReader
    from stemsplit.library.destinations import PlannedTrack
    from stemsplit.library.scan import Found, Track

_STEM_NAMES = frozenset(stem for model in MODELS.values() for stem in model.stems) | {RESIDUAL}

_DEEPEST: PcmDepth = "24"
"""Taken for the bit depth of a source, which a first look does not tell."""

_FLAC_SHARE = 0.6
"""Of the size of uncompressed stems, rounded up (docs/libraries.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedTrack:
    """A track, what lies at the places of its stems and is known of it, what becomes of it."""

    planned: PlannedTrack
    seen: Seen
    known: Known
    decision: Decision

    @property
    def is_untracked(self) -> bool:
        """Whether it is left because of files that no journal knows."""
        return self.decision.action is Action.LEAVE and self.known.record is None


@dataclass(slots=True, kw_only=True)
class BatchPlan:
    """What is to be done, and what is not.

    Attributes:
        tracks: each with what becomes of it, in the order of work.
        problems: inputs that lead to no track.
        looks: first looks into files that no journal had kept, by the files' absolute paths.
        left_out: how many files are no tracks because an earlier run has made them.
    """

    tracks: list[DecidedTrack]
    problems: list[Problem]
    looks: dict[bytes, Probe]
    left_out: int = 0

    @property
    def untracked(self) -> int:
        """How many tracks are left because of files that no journal knows."""
        return sum(one.is_untracked for one in self.tracks)

    def to_do(self, limit: int | None) -> tuple[list[PlannedTrack], list[PlannedTrack]]:
        """Give the tracks to be done now, at most `limit` of them, and those left for later."""
        tracks = self.of(Action.DO)
        most = len(tracks) if limit is None else limit
        return tracks[:most], tracks[most:]

    def of(self, action: Action) -> list[PlannedTrack]:
        """Give the tracks of which this becomes."""
        return [one.planned for one in self.tracks if one.decision.action is action]


def find_tracks(request: BatchRequest) -> Found:
    """Find what the inputs lead to; what was separated before is an input of conversions alone."""
    return scan(
        request.inputs,
        request.output,
        listed=request.listed,
        listed_in=request.listed_in,
        exclusions=request.exclusions,
        with_stems=not request.settings.separates,
    )


def plan_batch(
    found: Found, request: BatchRequest, journal: JournalReader | None, *, recovered: bool = True
) -> BatchPlan:
    """Find out what is to be done.

    Args:
        found: what the inputs lead to.
        request: what is asked for.
        journal: what is known, None if nothing.
        recovered: whether what a dead run has left was brought in order before.
    """
    problems = list(found.problems)
    output = request.output
    looks = _Looks(journal)
    looked: list[tuple[Track, Probe]] = []
    for track in found.tracks:
        look = looks.at(track)
        if isinstance(look, Problem):
            problems.append(look)
        else:
            looked.append((track, look))
    namer = namer_of(output, request.template, request.settings)
    owned = {} if journal is None else journal.owned()
    records = {} if journal is None else journal.records()
    redo_policy = dataclasses.replace(request.redo_policy, recovered=recovered)
    tracks = []
    sources = _Sources(track.path for track, _ in looked)
    shown = listing(output) if is_remote(output) else None
    remote_sources = frozenset(track.path for track, _ in looked)
    placed_tracks = place(looked, namer, *_not_taken(request, journal, owned))
    for planned in _ordered(placed_tracks, request.order):
        if shown is None:
            seen = see(planned.job, sources)
        else:
            seen = see_remote(planned.job, shown, remote_sources)
        what = known(planned, seen, records, owned, output)
        decision = decide(planned, seen, what, redo_policy)
        tracks.append(DecidedTrack(planned=planned, seen=seen, known=what, decision=decision))
    left_out = len(looked) - len(placed_tracks)
    return BatchPlan(tracks=tracks, problems=problems, looks=looks.new, left_out=left_out)


def _not_taken(
    request: BatchRequest, journal: JournalReader | None, owned: Iterable[bytes]
) -> tuple[frozenset[str], Iterable[bytes]]:
    """Give what is no track: the names of stems, and files of the output folder.

    Stems are not separated again, and what was converted is not converted again in its own folder.
    """
    if not request.settings.separates:  # which bears its source's own name, and no stem's
        return frozenset(), owned
    return _STEM_NAMES, () if journal is None else journal.stems()


class _Sources:
    """The sources of a batch, as their file systems know them."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = paths
        self._known: frozenset[tuple[int, int]] | None = None

    def __contains__(self, file: object) -> bool:
        if self._known is None:  # not before anything lies in a place where a stem will go
            self._known = frozenset(self._marks())
        return file in self._known

    def _marks(self) -> Iterator[tuple[int, int]]:
        for path in self._paths:
            with contextlib.suppress(OSError):
                status = path.stat()
                yield status.st_dev, status.st_ino


def template_of(settings: Settings, name: str | None = None) -> Template:
    """Read the template of a batch's names, or give the usual one.

    Raises:
        UsageError: as `Template.parse`.
    """
    usual = DEFAULT_NAME if settings.separates else DEFAULT_NAME_CONVERTED
    return Template.parse(name or usual, for_stems=settings.separates)


def namer_of(output: Path, template: Template, settings: Settings) -> Namer:
    """Give what names the stems of a batch."""
    return Namer(
        output=output,
        template=template,
        model=settings.model,
        stems=written(settings),
        first=find(settings.model).stems[0] if settings.separates else CONVERTED,
        ext=settings.format,
    )


class _Looks:
    """First looks into files; those that the journal has kept are not repeated."""

    def __init__(self, journal: JournalReader | None) -> None:
        self._kept = {} if journal is None else journal.probes()
        self.new: dict[bytes, Probe] = {}

    def at(self, track: Track) -> Probe | Problem:
        """Look into a track's file."""
        if track.there is not None:
            return probe_remote(track.path, track.there)
        try:
            status = track.path.stat()
            if not os.access(track.path, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            return unreadable(track.path, error)
        source = os.fsencode(track.path.absolute())
        kept = self._kept.get(source)
        if kept is None or (kept.size_bytes, kept.modified_ns) != (
            status.st_size,
            status.st_mtime_ns,
        ):
            kept = self.new[source] = probe(track.path, status)
        elif not kept.sample:  # an earlier version has kept it
            sample = sample_of(track.path)
            kept = self.new[source] = msgspec.structs.replace(kept, sample=sample)
        if kept.is_other:
            return Problem(
                path=track.path,
                message=f"{quoted(track.path)} is not an audio file: it holds {kept.is_other}.",
                remedy="Give it the ending of what it is, or remove it.",
            )
        return kept


def _ordered(planned: list[PlannedTrack], order: Order) -> list[PlannedTrack]:
    match order:
        case "given":
            return planned
        case "path":
            return sorted(planned, key=lambda one: one.job.source)
        case "shortest":
            return sorted(planned, key=lambda one: one.probe.likely_seconds)
        case "newest":
            return sorted(planned, key=lambda one: one.probe.modified_ns, reverse=True)


def audio_seconds(probe: Probe, settings: Settings) -> float:
    """Predict how much of a track's audio is taken."""
    return settings.seconds_of(probe.likely_seconds)


def whole_seconds(probe: Probe, settings: Settings) -> float:
    """Give how much is taken of a track where memory depends on it; infinity if nobody knows."""
    return settings.seconds_of(math.inf if probe.seconds is None else probe.seconds)


def stem_bytes(probe: Probe, settings: Settings, stems: int) -> int:
    """Predict the size of a track's stems together, from its duration."""
    seconds = audio_seconds(probe, settings)
    source_rate = probe.sample_rate or MODEL_SAMPLE_RATE
    frames = round(seconds * stem_rate(settings.format, settings.sample_rate, source_rate))
    # Until it is known by how much they are made quieter, all stems wait as floats.
    waiting = pcm_bytes(frames, STEREO, "32f") * stems if settings.clip == "rescale" else 0
    lossy = LOSSY.get(settings.format)
    if lossy is not None:
        return round(seconds * (settings.bit_rate or lossy.bit_rate) / 8) * stems + waiting
    depth = _DEEPEST if settings.bit_depth == "source" else settings.bit_depth
    written_bytes = pcm_bytes(frames, STEREO, depth) * stems
    return round(written_bytes * (_FLAC_SHARE if settings.format == "flac" else 1)) + waiting


def patterns_of(exclude: Iterable[str]) -> Iterator[str]:
    """Take what a caller gives as patterns.

    Raises:
        UsageError: if it is one text and no list.
    """
    if isinstance(exclude, str):
        raise UsageError(f"exclude is one pattern, {quoted(exclude)}.", "Put it into a list.")
    return iter(exclude)


def checked_limit(limit: int | None) -> int | None:
    """Give the limit of a batch.

    Raises:
        UsageError: if it is less than 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit cannot be {limit}.", "Give a number of tracks from 1 on.")
    return limit


def paths_of(inputs: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """Take what a caller gives as paths.

    Raises:
        UsageError: if one of them is empty, or they are no list.
    """
    if isinstance(inputs, str | bytes | os.PathLike):
        raise UsageError(f"The inputs are one path, {quoted(inputs)}.", "Put it into a list.")
    for one in inputs:
        if not os.fspath(one):
            raise UsageError(
                "One of the inputs is an empty name.", "Is a variable of your shell not set?"
            )
        yield path_of(one)

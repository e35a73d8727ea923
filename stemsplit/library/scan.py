"""Runs in the supervisor. Scans the inputs of a batch for tracks."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.library.exclude_patterns import Exclusions
from stemsplit.library.file_filter import IgnoredPaths
from stemsplit.library.input_search import InputSearch
from stemsplit.library.tracks import Problem, Track

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(slots=True)
class ScanResult:
    """The result of a scan.

    Attributes:
        tracks: each file once, in the order of the inputs.
        problems: inputs that lead to no track.
        duplicates: number of files that were found more than once.
        ignored: files and folders that were ignored.
        unreadable: folders below an input that cannot be read.
        unmatched: exclude patterns that matched nothing.
    """

    tracks: list[Track] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    duplicates: int = 0
    ignored: IgnoredPaths = field(default_factory=IgnoredPaths)
    unreadable: list[Problem] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)


def scan(
    inputs: Iterable[Path],
    output: Path | None = None,
    *,
    listed: Iterable[Path] = (),
    listed_in: Path | None = None,
    exclusions: Exclusions | None = None,
    with_stems: bool = False,
) -> ScanResult:
    """Find the tracks of the inputs, each file once, in the order given.

    A folder leads to the audio files below it, beginning with those directly in it. Hidden files
    and folders, trash and system folders, excluded paths and stems are ignored. Stems are all files
    in `output`, and the files that the journal of any output folder records. Links to folders are
    followed last, and each folder is searched once. A file leads to itself, whatever its name. A
    pattern such as `live/**/*.flac` that is not the name of a file leads to its matches, each with
    its folder below `live`.

    Args:
        inputs: files, folders and patterns.
        output: the output folder, ignored if it lies below an input.
        listed: files and folders from a list; a relative path keeps its folder.
        listed_in: folder that relative paths in `listed` start from; None for the current folder.
        exclusions: patterns of files and folders to exclude, inputs included.
        with_stems: whether stems that a journal records are accepted as tracks.
    """
    exclusions = exclusions or Exclusions()
    search = InputSearch(output, exclusions, with_stems=with_stems)
    result = ScanResult(ignored=search.ignored)
    positions: dict[str, int] = {}
    duplicates: set[str] = set()
    real_folders: dict[str, str] = {}

    def real_path(path: Path) -> str:
        """Return the real path of a file, resolving each folder once."""
        if path.is_symlink():
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        if folder not in real_folders:
            real_folders[folder] = os.path.realpath(folder)
        return os.path.join(real_folders[folder], name)

    for track in (
        *(found for path in inputs for found in search.search_input(path)),
        *(found for path in listed for found in search.search_listed(path, listed_in)),
    ):
        if isinstance(track, Problem):
            result.problems.append(track)
            continue
        real = real_path(track.path)
        if real not in positions:
            positions[real] = len(result.tracks)
            result.tracks.append(track)
            continue
        duplicates.add(real)
        # The file itself replaces a link to it, so that a new link changes nothing.
        position = positions[real]
        if result.tracks[position].path.is_symlink() and not track.path.is_symlink():
            result.tracks[position] = track
    result.duplicates = len(duplicates)
    result.unreadable = list(search.unreadable.values())
    result.unmatched = exclusions.unmatched
    return result

"""Runs in the supervisor. Inputs as a person gives them to the audio files they mean."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.library.exclusion import Exclusions, LeftOut
from stemsplit.library.input_search import Problem, Search, Track, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Found", "Problem", "Track", "scan", "unreadable"]


@dataclass(slots=True)
class Found:
    """What inputs lead to.

    Attributes:
        tracks: each file once, in the order of the inputs.
        problems: inputs that lead to none.
        duplicates: how many files were met more than once.
        left_out: files and folders that were left out.
        unreadable: folders below an input that cannot be read.
        unmatched: patterns of exclusions that nothing has matched.
    """

    tracks: list[Track] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    duplicates: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)
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
) -> Found:
    """Find the tracks of `inputs`, each file once, in the order given.

    A folder gives the audio files below it, those that lie in it first. Left out are hidden files
    and folders, trash and system folders, what a pattern excludes, and stems: what lies in
    `output`, and what the journal of any output folder knows. Links to folders
    are followed, each folder being searched once, after those that are no links. A file gives
    itself. A pattern such as `live/**/*.flac` that no file bears as its name
    gives what matches it, each file with its folder below `live`.

    Args:
        inputs: files, folders and patterns.
        output: the folder for the stems; left out where it lies below an input.
        listed: files and folders from a list; a relative one keeps its folder.
        listed_in: what relative paths of the list are relative to; None is the current folder.
        exclusions: what is left out, inputs included.
        with_stems: whether stems that a journal knows are taken like everything else.
    """
    exclusions = exclusions or Exclusions()
    search = Search(output, exclusions, with_stems=with_stems)
    found = Found(left_out=search.left_out)
    seen: dict[str, int] = {}
    again: set[str] = set()
    real_folders: dict[str, str] = {}

    def identity(path: Path) -> str:
        """Give the real path, asking for that of each folder once."""
        if path.is_symlink():
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        if folder not in real_folders:
            real_folders[folder] = os.path.realpath(folder)
        return os.path.join(real_folders[folder], name)

    for one in (
        *(one for path in inputs for one in search.named(path)),
        *(one for path in listed for one in search.listed(path, listed_in)),
    ):
        if isinstance(one, Problem):
            found.problems.append(one)
            continue
        real = identity(one.path)
        if real not in seen:
            seen[real] = len(found.tracks)
            found.tracks.append(one)
            continue
        again.add(real)
        # A link that is made later must not take the place of the file itself.
        if found.tracks[seen[real]].path.is_symlink() and not one.path.is_symlink():
            found.tracks[seen[real]] = one
    found.duplicates = len(again)
    found.unreadable = list(search.unreadable.values())
    found.unmatched = exclusions.unmatched
    return found

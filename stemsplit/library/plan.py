"""Runs in the supervisor. Tracks to jobs: where the stems of each will go, and whether they can."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from stemsplit.errors import UsageError
from stemsplit.job import Job
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stemsplit.job import StemFormat
    from stemsplit.library.scan import Track


def folder_name(track: Path) -> str:
    """Name the folder of a track's stems: the file's name without its ending.

    A name that is nothing but dots would lead out of the output folder or hide in it; its dots
    become underscores.
    """
    name = track.stem
    return name if name.strip(".") else track.name.replace(".", "_")


def plan(
    tracks: Iterable[Track], output: Path, stems: tuple[str, ...], stem_names: frozenset[str]
) -> list[Job]:
    """Give each track a folder of its own below `output`: its relative folder and its name.

    Stems of an earlier run that lie among the inputs, as they do where a library is separated into
    itself, are no tracks: files that bear a stem's name in the folder of another track's stems.

    Args:
        tracks: what was found.
        output: the folder for all stems.
        stems: of the model.
        stem_names: every name that a stem of any model has.

    Raises:
        UsageError: if two tracks would get the same folder.
    """
    placed = [(track, output / track.folder / folder_name(track.path)) for track in tracks]
    folders = {os.path.realpath(destination) for _, destination in placed}
    jobs: dict[str, Job] = {}
    for track, destination in placed:
        if track.path.stem in stem_names and os.path.realpath(track.path.parent) in folders:
            continue
        job = Job.of(track.path, destination, stems)
        # Case is folded because most people's file systems fold it.
        earlier = jobs.setdefault(str(destination).casefold(), job)
        if earlier is not job:
            raise UsageError(
                f"{quoted(earlier.source)} and {quoted(track.path)} would both be written to "
                f"{quoted(destination)}.",
                "Separate them into different output folders, or rename one.",
            )
    return list(jobs.values())


def existing_stems(job: Job, stem_format: StemFormat) -> list[Path]:
    """List the stem files of `job` that are there already."""
    files = [job.destination_path / f"{stem}.{stem_format}" for stem in job.stems]
    return [file for file in files if file.exists()]

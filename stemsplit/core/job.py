"""Runs in both. One track with the paths of its stems."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One track with the places of its stems.

    Paths are kept as the bytes the file system has, because a name need not be valid UTF-8.

    Attributes:
        source: the audio file.
        destination: the innermost folder that will hold all of the stems.
        stems: the stems to expect, in the model's order.
        files: the file of each stem, below `destination`.
        anchor: what the job is known by, from `destination`: the place of the model's first stem,
            whether it is written or not.
    """

    source: bytes
    destination: bytes
    stems: tuple[str, ...]
    files: tuple[bytes, ...]
    anchor: bytes

    @classmethod
    def of(cls, source: Path, files: Mapping[str, Path], anchor: Path | None = None) -> Job:
        """Build a job from ordinary paths.

        Args:
            source: the audio file.
            files: where each stem will be, in the model's order.
            anchor: the place of the model's first stem; the first of `files` if not given.
        """
        paths = [os.fsencode(path) for path in files.values()]
        destination = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 - bytes
        return cls(
            source=os.fsencode(source),
            destination=destination,
            stems=tuple(files),
            files=tuple(os.path.relpath(path, destination) for path in paths),
            anchor=os.path.relpath(
                paths[0] if anchor is None else os.fsencode(anchor), destination
            ),
        )

    @property
    def paths(self) -> dict[str, Path]:
        """Where each stem will be."""
        folder = self.destination_path
        names = (os.fsdecode(name) for name in self.files)
        return {stem: folder / name for stem, name in zip(self.stems, names, strict=True)}

    @property
    def source_path(self) -> Path:
        """The audio file."""
        return Path(os.fsdecode(self.source))

    @property
    def destination_path(self) -> Path:
        """The folder for the stems."""
        return Path(os.fsdecode(self.destination))

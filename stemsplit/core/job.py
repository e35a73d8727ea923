"""Runs in both. A job: one track with the paths of its stems."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One track with the paths of its stems.

    Paths are bytes, because file names need not be valid UTF-8.

    Attributes:
        source: the audio file.
        destination: the innermost folder that contains all stems.
        stems: stems to write, in the model's order.
        files: file of each stem, relative to `destination`.
        anchor: identifies the job in the journal: the path of the model's first stem relative to
            `destination`, whether that stem is written or not.
    """

    source: bytes
    destination: bytes
    stems: tuple[str, ...]
    files: tuple[bytes, ...]
    anchor: bytes

    @classmethod
    def of(cls, source: Path, files: Mapping[str, Path], anchor: Path | None = None) -> Job:
        """Build a job from paths.

        Args:
            source: the audio file.
            files: path of each stem, in the model's order.
            anchor: path of the model's first stem; defaults to the first of `files`.
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
        """Path of each stem."""
        folder = self.destination_path
        names = (os.fsdecode(name) for name in self.files)
        return {stem: folder / name for stem, name in zip(self.stems, names, strict=True)}

    @property
    def source_path(self) -> Path:
        """`source` as a path."""
        return Path(os.fsdecode(self.source))

    @property
    def destination_path(self) -> Path:
        """`destination` as a path."""
        return Path(os.fsdecode(self.destination))

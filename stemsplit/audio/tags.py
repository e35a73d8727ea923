"""Runs in both. What a source is called, its cover included, to the files of its stems.

Only what is named here is copied. So what is no longer true of a stem stays behind: ReplayGain and
other loudness, checksums, acoustic fingerprints, identifiers of the recording.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import mediafile

from stemsplit.job import CONVERTED
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Self

COPIED = (
    "title",
    "artist",
    "albumartist",
    "album",
    "track",
    "tracktotal",
    "disc",
    "disctotal",
    "year",
    "month",
    "day",
    "genres",
    "composer",
    "bpm",
    "initial_key",
    "images",
)
"""Fields in the words of the library mediafile."""


class SourceTags:
    """The tags of one source."""

    def __init__(self, values: Mapping[str, Any], name: str) -> None:
        """Keep what was found; `name` stands for a missing title."""
        self._values = dict(values)
        self._name = name

    @classmethod
    def of(cls, source: Path) -> Self:
        """Read a file's tags; one that has none, or damaged ones, has none to give."""
        try:
            media = mediafile.MediaFile(os.fspath(source))
            values = {field: getattr(media, field) for field in COPIED}
        except Exception:  # noqa: BLE001 - whatever a damaged file makes a parser raise
            values = {}
        found = {field: value for field, value in values.items() if value}
        return cls(found, source.stem)

    def write(self, file: Path, stem: str) -> str:
        """Write them to a stem's file, the title with the stem's name if it is one.

        Returns:
            a sentence that says why they could not be written; empty if all is well.

        Raises:
            OSError: if the disk does not take them; the file is then not to be used.
        """
        if not self._values:
            return ""
        before = file.stat()
        try:
            media = mediafile.MediaFile(os.fspath(file))
            for field, value in self._values.items():
                setattr(media, field, value)
            if stem != CONVERTED:
                media.title = f"{self._values.get('title') or self._name} ({stem})"
            media.save()
        except Exception as error:  # whatever a strange tag makes a writer raise
            after = file.stat()
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise OSError(f"its tags could not be written: {error}") from error
            return f"{quoted(file.name)} got no tags ({error})."
        return ""

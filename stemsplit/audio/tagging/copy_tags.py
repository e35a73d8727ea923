"""Runs in the child. Copies the tags of a source, including its cover, to its stems.

A field that the format of a stem cannot store is dropped and reported; all others are copied.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from stemsplit.audio.cover_art import FORMAT_NAMES, UnfitPictureError, fit_cover
from stemsplit.audio.tagging.fields import FIELDS, Fields
from stemsplit.audio.tagging.read_tags import ReadTags, read_tags
from stemsplit.core.errors import is_disk_full
from stemsplit.core.settings import CONVERTED
from stemsplit.core.text import listed, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Self

    import mediafile

_logger = logging.getLogger(__name__)


class SourceTags:
    """The tags of one source, for all of its stems. Reports each problem only once."""

    def __init__(
        self, values: Mapping[str, Any], name: str, *, file_name: str = "", problem: str = ""
    ) -> None:
        """Store the tags.

        Args:
            values: values by field, as in `stemsplit.audio.tagging.read_tags.ReadTags`.
            name: replacement for a missing title.
            file_name: file name of the source; default `name`.
            problem: a sentence about tags that could not be read.
        """
        self._values = dict(values)
        self._name = name
        self._file_name = file_name or name
        self._read_problem = problem
        self._reported: set[str] = set()
        self._pictures: dict[str, tuple[list[mediafile.Image], list[str]]] = {}

    @classmethod
    def of(cls, source: Path) -> Self:
        """Read the tags of a file, which may have none. Never raises."""
        try:
            read = read_tags(source, libav_metadata)
            values, problem = read.values, unread_sentence(read, source.name)
        except OSError as error:
            values = {}
            problem = f"{quoted(source.name)}: its tags could not be read ({error.strerror})."
        return cls(values, source.stem, file_name=source.name, problem=problem)

    def write(self, file: Path, stem: str) -> str:
        """Write the tags to a finished file; append the name of the stem to the title.

        Args:
            file: path of the file.
            stem: name of the stem, or `stemsplit.core.settings.CONVERTED` for an unchanged title.

        Returns:
            sentences about tags that were not read or not written, each only once per source;
            empty if there are none.

        Raises:
            OSError: if the disk fails; the file is then unusable.
        """
        problems, self._read_problem = [self._read_problem], ""
        if self._values:
            problems.append(self._write(file, stem))
        return " ".join(filter(None, problems))

    def _write(self, file: Path, stem: str) -> str:
        try:
            fields = Fields(os.fspath(file))
        except Exception as error:  # parsers raise anything on an unknown container
            _logger.debug("no tags for %s", file, exc_info=True)
            return self._nothing_written_sentence(file, type(error).__name__)
        values = dict(self._values)
        if stem != CONVERTED:
            values["title"] = f"{values.get('title') or self._name} ({stem})"
        dropped: dict[str, str] = {}
        if "images" in values:
            values["images"], problems = self._fit_covers(fields.type)
            if problems:
                dropped["images"] = "; ".join(dict.fromkeys(problems))
        values = {name: value for name, value in values.items() if value}
        refused = _assign(fields, values)
        if not _save(fields, file):
            refused |= _save_one_by_one(file, values)
        has_others = bool(values.keys() - refused.keys())
        return self._dropped_sentence(dropped | refused, has_others=has_others)

    def _fit_covers(self, file_type: str) -> tuple[list[mediafile.Image], list[str]]:
        """Return the pictures that a file type can store, and the problems of all others."""
        if file_type not in self._pictures:
            pictures: list[mediafile.Image] = []
            problems = []
            for picture in self._values["images"]:
                try:
                    pictures.append(fit_cover(picture, file_type))
                except UnfitPictureError as error:
                    problems.append(str(error))
            self._pictures[file_type] = pictures, problems
        return self._pictures[file_type]

    def _dropped_sentence(self, dropped: Mapping[str, str], *, has_others: bool) -> str:
        new = {name: reason for name, reason in dropped.items() if name not in self._reported}
        if not new:
            return ""
        self._reported |= new.keys()
        what = listed([f"{FIELDS.get(name, name)} ({reason})" for name, reason in new.items()])
        rest = "; other tags were kept" if has_others else ""
        return f"{quoted(self._file_name)}: its {what} could not be copied{rest}."

    def _nothing_written_sentence(self, file: Path, reason: str) -> str:
        if "" in self._reported:
            return ""
        self._reported.add("")
        with contextlib.suppress(OSError), file.open("rb") as opened:
            if opened.read(4) == b"RF64":
                reason = "a WAV file above 4 GiB cannot store tags; --format flac can"
        return f"{quoted(self._file_name)}: its tags could not be copied ({reason})."


def unread_sentence(read: ReadTags, file_name: str) -> str:
    """Return a sentence about the tags that could not be read; empty if all were read."""
    if not read.lost and not read.damaged:
        return ""
    name = quoted(file_name)
    if not read.values:
        return f"{name}: its tags are damaged and could not be read."
    if not read.lost:
        return f"{name}: some of its tags are damaged and could not be read; others were kept."
    what = listed([label for field, label in FIELDS.items() if field in read.lost])
    return f"{name}: its {what} could not be read; other tags were kept."


def _assign(fields: Fields, values: Mapping[str, Any]) -> dict[str, str]:
    """Set fields in memory, and return the reason for each field that was refused."""
    refused = {}
    for name, value in values.items():
        try:
            fields.assign(name, value)
        except Exception:  # writers raise anything on an unusual value
            _logger.debug("%s does not accept %s", fields.type, name, exc_info=True)
            refused[name] = _refusal(fields.type)
            with contextlib.suppress(Exception):
                fields.clear(name)
    return refused


def _save_one_by_one(file: Path, values: Mapping[str, Any]) -> dict[str, str]:
    """Save each field separately, and return the reason for each field that was refused."""
    refused: dict[str, str] = {}
    for name, value in values.items():
        fields = Fields(os.fspath(file))
        new = _assign(fields, {name: value})
        if not new and not _save(fields, file):
            new = {name: _refusal(fields.type)}
        refused |= new
    return refused


def _save(fields: Fields, file: Path) -> bool:
    """Save the tags to a file, and return whether that succeeded; if not, it is unchanged.

    Raises:
        OSError: if the file was changed all the same, or the disk is full.
    """
    before = file.stat()
    try:
        fields.save()
    except Exception as error:  # writers raise anything on an unusual tag
        _logger.debug("no tags for %s", file, exc_info=True)
        after = file.stat()
        is_changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
        if is_changed or is_disk_full(error) or "No space left" in str(error):
            raise OSError(f"its tags could not be written: {error}") from error
        return False
    return True


def _refusal(file_type: str) -> str:
    return f"{FORMAT_NAMES.get(file_type, file_type)} cannot store it"


def libav_metadata(path: Path) -> dict[str, list[str]]:
    """Return FFmpeg's metadata of a file, by FFmpeg's keys in lower case; never raises."""
    from stemsplit.audio.readers.libav_stream_info import open_container

    texts: dict[str, list[str]] = {}
    try:
        with path.open("rb") as file, open_container(file) as container:
            tracks = container.streams.audio[:1]
            for metadata in (container.metadata, *(track.metadata for track in tracks)):
                for key, text in metadata.items():
                    texts.setdefault(key.lower(), [text])
    except Exception:  # FFmpeg raises anything on a damaged file
        _logger.debug("FFmpeg cannot read the tags of %s", path, exc_info=True)
    return texts

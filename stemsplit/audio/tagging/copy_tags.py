"""Runs in the child. Copies the tags of a source, its cover included, to the files of its stems.

What a stem's format cannot hold costs that field alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from stemsplit.audio.cover_art import FORMAT_NAMES, UnfitPictureError, fitted
from stemsplit.audio.tagging.fields import FIELDS, Fields
from stemsplit.audio.tagging.reader import ReadTags, read_tags
from stemsplit.core.errors import says_disk_is_full
from stemsplit.core.settings import CONVERTED
from stemsplit.core.text import listed, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Self

    import mediafile

_logger = logging.getLogger(__name__)

_PYAV_WITHOUT_ERRORS = 19
"""The version of PyAV from which on texts of any encoding are taken without asking for it."""


class SourceTags:
    """The tags of one source, for all of its stems; each loss is reported with one stem alone."""

    def __init__(
        self, values: Mapping[str, Any], name: str, *, file_name: str = "", complaint: str = ""
    ) -> None:
        """Store what was found.

        Args:
            values: by field, as `stemsplit.audio.tagging.reader.ReadTags` has them.
            name: stands for a missing title.
            file_name: of the source; `name` if empty.
            complaint: a sentence on what could not be read.
        """
        self._values = dict(values)
        self._name = name
        self._file_name = file_name or name
        self._complaint = complaint
        self._reported: set[str] = set()
        self._pictures: dict[str, tuple[list[mediafile.Image], list[str]]] = {}

    @classmethod
    def of(cls, source: Path) -> Self:
        """Read a file's tags; a file without tags has none to give. Never raises."""
        try:
            read = read_tags(source, libav_metadata)
        except OSError as error:
            complaint = f"{quoted(source.name)}: its tags could not be read ({error.strerror})."
            return cls({}, source.stem, file_name=source.name, complaint=complaint)
        return cls(
            read.values,
            source.stem,
            file_name=source.name,
            complaint=unread_sentence(read, source.name),
        )

    def write(self, file: Path, stem: str) -> str:
        """Write the tags to a stem's file, the title with the stem's name if it is one.

        Args:
            file: finished, in its format.
            stem: its name, or `stemsplit.core.settings.CONVERTED`.

        Returns:
            sentences on what was not read or not written, unless reported before; empty if there
            is nothing to report.

        Raises:
            OSError: if the disk does not take them; the file is then not to be used.
        """
        complaints, self._complaint = [self._complaint], ""
        if self._values:
            complaints.append(self._write(file, stem))
        return " ".join(filter(None, complaints))

    def _write(self, file: Path, stem: str) -> str:
        try:
            fields = Fields(os.fspath(file))
        except Exception as error:  # whatever a strange container makes a parser raise
            _logger.debug("no tags for %s", file, exc_info=True)
            return self._nothing_written(file, type(error).__name__)
        values = dict(self._values)
        if stem != CONVERTED:
            values["title"] = f"{values.get('title') or self._name} ({stem})"
        dropped: dict[str, str] = {}
        if "images" in values:
            values["images"], problems = self._fitted(fields.type)
            if problems:
                dropped["images"] = "; ".join(dict.fromkeys(problems))
        held = {name: value for name, value in values.items() if value}
        refused = _assigned(fields, held)
        if not _saved(fields, file):
            refused |= _saved_one_by_one(file, held)
        has_others = bool(held.keys() - refused.keys())
        return self._dropped_sentence(dropped | refused, has_others=has_others)

    def _fitted(self, kind: str) -> tuple[list[mediafile.Image], list[str]]:
        """Return the pictures that a format takes, and why it does not take the others."""
        if kind not in self._pictures:
            pictures: list[mediafile.Image] = []
            problems = []
            for picture in self._values["images"]:
                try:
                    pictures.append(fitted(picture, kind))
                except UnfitPictureError as error:
                    problems.append(str(error))
            self._pictures[kind] = pictures, problems
        return self._pictures[kind]

    def _dropped_sentence(self, dropped: Mapping[str, str], *, has_others: bool) -> str:
        new = {name: reason for name, reason in dropped.items() if name not in self._reported}
        if not new:
            return ""
        self._reported |= new.keys()
        what = listed([f"{FIELDS.get(name, name)} ({reason})" for name, reason in new.items()])
        rest = "; other tags were kept" if has_others else ""
        return f"{quoted(self._file_name)}: its {what} could not be copied{rest}."

    def _nothing_written(self, file: Path, why: str) -> str:
        if "" in self._reported:
            return ""
        self._reported.add("")
        with contextlib.suppress(OSError), file.open("rb") as opened:
            if opened.read(4) == b"RF64":
                return (
                    f"{quoted(self._file_name)}: what was made of it got no tags (a WAV file past "
                    "4 GiB holds none; --format flac does)."
                )
        return f"{quoted(self._file_name)}: what was made of it got no tags ({why})."


def unread_sentence(read: ReadTags, file_name: str) -> str:
    """Return a sentence on the tags that could not be read; empty if all were."""
    if not read.lost and not read.damaged:
        return ""
    name = quoted(file_name)
    if not read.values:
        return f"{name}: its tags are damaged and could not be read."
    if not read.lost:
        return f"{name}: some of its tags are damaged and could not be read; others were kept."
    what = listed([label for field, label in FIELDS.items() if field in read.lost])
    return f"{name}: its {what} could not be read; other tags were kept."


def _assigned(fields: Fields, values: Mapping[str, Any]) -> dict[str, str]:
    """Set fields, in memory alone, and return why some were not."""
    dropped = {}
    for name, value in values.items():
        try:
            fields.assign(name, value)
        except Exception:  # whatever a strange value makes a writer raise
            _logger.debug("%s does not take %s", fields.type, name, exc_info=True)
            dropped[name] = _not_held(fields.type)
            with contextlib.suppress(Exception):
                fields.clear(name)
    return dropped


def _saved_one_by_one(file: Path, values: Mapping[str, Any]) -> dict[str, str]:
    """Write each field by itself, and return why some were not written.

    Raises:
        OSError: as `_saved`.
    """
    dropped: dict[str, str] = {}
    for name, value in values.items():
        fields = Fields(os.fspath(file))
        refused = _assigned(fields, {name: value})
        if not refused and not _saved(fields, file):
            refused = {name: _not_held(fields.type)}
        dropped |= refused
    return dropped


def _saved(fields: Fields, file: Path) -> bool:
    """Save the tags to a file, and tell whether that could be done; if not, it is as before.

    Raises:
        OSError: if the file is not as before, or the disk is full.
    """
    before = file.stat()
    try:
        fields.save()
    except Exception as error:  # whatever a strange tag makes a writer raise
        _logger.debug("no tags for %s", file, exc_info=True)
        after = file.stat()
        is_changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
        if is_changed or says_disk_is_full(error) or "No space left" in str(error):
            raise OSError(f"its tags could not be written: {error}") from error
        return False
    return True


def _not_held(kind: str) -> str:
    return f"{FORMAT_NAMES.get(kind, kind)} does not hold it"


def libav_metadata(path: Path) -> dict[str, list[str]]:
    """Return FFmpeg's metadata of a file, by FFmpeg's names in lower case; never raises."""
    import av

    # No other file than this one is opened, whatever it names; PyAV 19 needs no `metadata_errors`.
    options = {"protocol_whitelist": "none"}
    is_old = int(av.__version__.partition(".")[0]) < _PYAV_WITHOUT_ERRORS
    more: dict[str, Any] = {"metadata_errors": "replace"} if is_old else {}
    texts: dict[str, list[str]] = {}
    try:
        with path.open("rb") as file, av.open(file, "r", options=options, **more) as container:
            for one in (container, *container.streams.audio[:1]):
                for key, text in one.metadata.items():
                    texts.setdefault(key.lower(), [text])
    except Exception:  # whatever a damaged file makes it raise
        _logger.debug("FFmpeg reads no tags of %s", path, exc_info=True)
    return texts

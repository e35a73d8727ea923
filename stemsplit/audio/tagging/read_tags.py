"""Runs in both. Reads as many tags of an audio file as possible.

mutagen fails at the first invalid tag. Here only that tag is lost, and the loss is reported.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mediafile
import mutagen
import mutagen.apev2
import mutagen.id3

from stemsplit.audio.tagging.fields import FIELDS, Fields
from stemsplit.audio.tagging.mutagen_fallbacks import (
    ApeTags,
    Id3Tags,
    as_mediafile_type,
    read_tolerant_flac,
    read_tolerant_mp4,
)
from stemsplit.audio.tagging.tag_key_search import (
    fields_of,
    find_fields,
    has_id3v1,
    has_tag_signature,
)
from stemsplit.audio.tagging.tag_values import clean_value, parse_number, values_of_texts
from stemsplit.audio.tagging.text_chunks import TextChunks, read_text_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

_logger = logging.getLogger(__name__)

_HEAD_BYTES = _TAIL_BYTES = 2**17
"""Size of the parts that are searched for the keys of lost tags."""
_SIGNATURE_BYTES = 2**10
"""Sufficient to detect tags before or after the audio."""

_EMPTY_DATE = re.compile(r"[\s0/-]*")

_NAMING_FIELDS = ("title", "artists", "albumartists", "album", "genres", "track", "disc", "date")
"""Fields that path templates use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTags:
    """The tags that were read from a file.

    Attributes:
        values: values by field (`stemsplit.audio.tagging.fields.FIELDS`); none is empty. `track`
            and `disc` are `(number, total)`, text and integer, either of which may be None; `date`
            is `(year, month, day)`, of which the last two may be None.
        lost: fields that the file contains and that could not be read.
        damaged: whether any other part of its tags could not be read.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    damaged: bool = False


def read_tags(path: Path, metadata_of: Callable[[Path], Mapping[str, list[str]]]) -> ReadTags:
    """Read all tags of a file; damaged or absent tags raise nothing.

    Args:
        path: path of the file.
        metadata_of: returns FFmpeg's metadata of a file, by FFmpeg's keys in lower case, and never
            raises; called only if mutagen misses tags.

    Raises:
        OSError: if the file cannot be read.
    """
    head, tail = _read_ends(path)
    collector = _Collector()
    is_known = collector.read_blocks(path, head, tail)
    chunks = _text_chunks(path)
    collector.add(values_of_texts(chunks.values))
    collector.clean()
    missing = find_fields(head, tail) - collector.present
    is_empty = not collector.values and (not is_known or head[4:8] == b"ftyp")
    if collector.failed or missing or is_empty:
        collector.add(values_of_texts(metadata_of(path)))
    has_tags = bool(missing) or has_tag_signature(head, tail)
    return ReadTags(
        values=collector.values,
        lost=frozenset((collector.lost | missing) - collector.values.keys()),
        damaged=collector.rejected or chunks.damaged or (collector.failed and has_tags),
    )


def open_tags(path: Path) -> Fields:
    """Open a file to read its duration and tags, even if mutagen rejects some MP4 atoms.

    Raises:
        mediafile.UnreadableFileError: if the file cannot be opened.
    """
    try:
        return Fields(os.fspath(path))
    except mediafile.UnreadableFileError:
        with path.open("rb") as file:
            opened = read_tolerant_mp4(file)
        if opened is None:
            raise
        return Fields.over(opened)


def read_naming_tags(path: Path, fields: Fields | None) -> Mapping[str, Any]:
    """Return the fields for path templates, as in `ReadTags.values`, but with any NUL bytes.

    Args:
        path: path of the file.
        fields: result of `open_tags`; None if it failed.

    Raises:
        OSError: if the file cannot be read.
    """
    collector = _Collector()
    if fields is not None:
        collector.add_block(fields.mgfile, _NAMING_FIELDS)
    if fields is None or getattr(fields, "type", "") in {"wav", "aiff"}:
        collector.add(values_of_texts(_text_chunks(path).values))
    if not collector.values:
        head, tail = _read_ends(path, _SIGNATURE_BYTES, _SIGNATURE_BYTES)
        for block in collector.other_blocks(path, head, tail, []):
            collector.add_block(block, _NAMING_FIELDS)
    return collector.values


def _text_chunks(path: Path) -> TextChunks:
    with path.open("rb") as file:
        return read_text_chunks(file)


class _Collector:
    """Collects the fields of all tag blocks of one file; the first value of a field wins.

    Attributes:
        values: values by field.
        present: fields whose keys occur in a block, readable or not.
        lost: fields that could not be read.
        rejected: whether parts of a block were skipped.
        failed: whether a block could not be parsed.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.present: set[str] = set()
        self.lost: set[str] = set()
        self.rejected = False
        self.failed = False

    def read_blocks(self, path: Path, head: bytes, tail: bytes) -> bool:
        """Read the tags that mutagen can read, and return whether it knows the file type."""
        blocks: list[Any] = []
        has_failed = False
        try:
            opened: Any = mutagen.File(os.fspath(path))
            is_known = opened is not None
        except Exception:  # parsers raise anything on a damaged file
            _logger.debug("mutagen rejects %s", path, exc_info=True)
            is_known, has_failed = True, True
            with path.open("rb") as file:
                opened = read_tolerant_mp4(file) or read_tolerant_flac(file)
            if opened is not None:
                has_failed, self.rejected = False, bool(opened.rejected)
        has_tags = opened is not None and opened.tags is not None
        if has_tags or getattr(opened, "pictures", None):
            blocks.append(as_mediafile_type(opened))
        others = [*self.other_blocks(path, head, tail, blocks)]
        self.failed |= has_failed and not others
        blocks += others
        for block in blocks:
            self.add_block(block)
        return is_known

    def other_blocks(
        self, path: Path, head: bytes, tail: bytes, blocks: list[Any]
    ) -> Iterator[Any]:
        """Yield ID3 and APE tags before and after the audio that are not in `blocks`."""
        has_id3 = head[:3] == b"ID3" or has_id3v1(head, tail)
        has_ape = b"APETAGEX" in (tail or head)
        for is_present, parser, wrapper in (
            (has_id3, mutagen.id3.ID3, Id3Tags),
            (has_ape, mutagen.apev2.APEv2, ApeTags),
        ):
            if not is_present or any(isinstance(block.tags, parser) for block in blocks):
                continue
            try:
                yield wrapper(parser(os.fspath(path)))
            except Exception:  # parsers raise anything on a damaged tag
                _logger.debug("mutagen rejects tags of %s", path, exc_info=True)
                self.failed = True

    def add_block(
        self,
        block: Any,  # noqa: ANN401 - mutagen's file of any type
        names: Iterable[str] = FIELDS,
    ) -> None:
        self.present |= _present(block)
        fields = Fields.over(block)
        values = {}
        for name in names:
            try:
                value, is_readable = _value(fields, name)
            except Exception:  # parsers raise anything on a damaged tag
                _logger.debug("unreadable: %s", name, exc_info=True)
                value, is_readable = None, False
            if value:
                values[name] = value
            if not is_readable:
                self.lost.add(name)
        self.add(values)

    def add(self, values: Mapping[str, Any]) -> None:
        """Add fields, unless they have a value already."""
        self.values = {**values, **self.values}
        self.present |= values.keys()

    def clean(self) -> None:
        """Make all texts storable in every file type, and drop the empty ones."""
        cleaned = {name: clean_value(value) for name, value in self.values.items()}
        self.values = {name: value for name, value in cleaned.items() if value}


def _read_ends(
    path: Path, head_bytes: int = _HEAD_BYTES, tail_bytes: int = _TAIL_BYTES
) -> tuple[bytes, bytes]:
    """Return the first and the last bytes of a file; the latter are empty if it is short."""
    with path.open("rb") as file:
        head = file.read(head_bytes)
        end = file.seek(0, os.SEEK_END)
        if end <= len(head):
            return head, b""
        file.seek(max(end - tail_bytes, len(head)))
        return head, file.read()


def _present(block: Any) -> set[str]:  # noqa: ANN401 - mutagen's file of any type
    """Return the fields whose keys occur in a tag block, with or without a value."""
    tags = block.tags if block.tags is not None else {}
    keys = [str(key) for key in tags.keys()]  # noqa: SIM118 - some of these are not mappings
    if isinstance(tags, mutagen.id3.ID3):
        for chapter in tags.values():
            keys += getattr(chapter, "sub_frames", {}).keys()
    return fields_of(keys) | ({"images"} if getattr(block, "pictures", None) else set())


def _value(fields: Fields, name: str) -> tuple[Any, bool]:
    """Return the value of a field, None if it has none, and whether it was readable."""
    if name in {"track", "disc"}:
        return parse_number(getattr(fields, name), getattr(fields, f"{name}total")), True
    if name == "date":
        return _date(fields)
    return getattr(fields, name), True


def _date(fields: Fields) -> tuple[tuple[int, int | None, int | None] | None, bool]:
    if fields.year:
        return (fields.year, fields.month, fields.day), True
    return None, _EMPTY_DATE.fullmatch(fields.date_text or "") is not None

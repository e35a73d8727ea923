"""Runs in both. Reads the tags of an audio file: as many of them as can be read.

mutagen gives up at the first thing that it does not like. What it has rejected costs that alone
here, and what was lost is reported.
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
from stemsplit.audio.tagging.id3_ape_blocks import (
    ApeTags,
    Id3Tags,
    held,
    tolerant_flac,
    tolerant_mp4,
)
from stemsplit.audio.tagging.lost_tags import fields_of, has_id3v1, has_tag_signature, traced_fields
from stemsplit.audio.tagging.text_chunks import TextChunks, read_text_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

_logger = logging.getLogger(__name__)

_HEAD_BYTES = _TAIL_BYTES = 2**17
"""Searched for the names of tags that no parser found."""
_SIGNATURE_BYTES = 2**10
"""Enough to see that there are tags before or behind the audio."""

_NUMBER = re.compile(r"\s*(?P<number>[+-]?\d{1,9})?\s*(?:/\s*(?P<total>\d{1,9})\s*)?")
_DATE = re.compile(r"\D*(\d{4})(?:\D(\d{1,2}))?(?:\D(\d{1,2}))?")
_NO_DATE = re.compile(r"[\s0/-]*")

_LIBAV_FIELDS = {
    "title": "title",
    "artist": "artists",
    "album_artist": "albumartists",
    "album": "album",
    "track": "track",
    "disc": "disc",
    "date": "date",
    "year": "date",
    "genre": "genres",
    "composer": "composers",
    "comment": "comments",
}
_CHUNK_FIELDS = {
    "title": "title",
    "artist": "artists",
    "album": "album",
    "track": "track",
    "date": "date",
    "genre": "genres",
    "composer": "composers",
    "comment": "comments",
}
_OF_NAMES = ("title", "artists", "albumartists", "album", "genres", "track", "disc", "date")
"""The fields that names are made of."""
_NONE = (None, None, None)
"""A date without any part."""
_LISTS = frozenset({"artists", "albumartists", "genres", "composers"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTags:
    """What was read of a file's tags.

    Attributes:
        values: by field (`stemsplit.audio.tagging.fields.FIELDS`); none is empty. `track` and
            `disc` are `(number, total)`, text and integer, each of which may be None; `date` is
            `(year, month, day)`, the last two of which may be None.
        lost: the fields that the file has and that could not be read.
        damaged: whether something else among its tags could not be read.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    damaged: bool = False


def read_tags(path: Path, metadata_of: Callable[[Path], Mapping[str, list[str]]]) -> ReadTags:
    """Read all tags of a file; never raises for what a file contains.

    Args:
        path: of the file.
        metadata_of: returns FFmpeg's metadata of a file, by FFmpeg's names in lower case, and
            never raises; called only where mutagen leaves something out.

    Raises:
        OSError: if the file cannot be read.
    """
    head, tail = _ends(path)
    found = _Found()
    is_known = found.read_blocks(path, head, tail)
    chunks = names_in_chunks(path)
    found.add(_of_texts(chunks.values, _CHUNK_FIELDS))
    found.values = {name: _cleaned_value(value) for name, value in found.values.items()}
    found.values = {name: value for name, value in found.values.items() if value}
    missing = traced_fields(head, tail) - found.present
    has_nothing = not found.values and (not is_known or head[4:8] == b"ftyp")
    if found.failed or missing or has_nothing:
        found.add(_of_texts(metadata_of(path), _LIBAV_FIELDS))
    had_something = bool(missing) or has_tag_signature(head, tail)
    return ReadTags(
        values=found.values,
        lost=frozenset((found.lost | missing) - found.values.keys()),
        damaged=found.rejected or chunks.damaged or (found.failed and had_something),
    )


def open_tags(path: Path) -> Fields:
    """Open a file for reading its duration and its tags, also one of which mutagen rejects a part.

    Raises:
        mediafile.UnreadableFileError: if that is not possible.
    """
    try:
        return Fields(os.fspath(path))
    except mediafile.UnreadableFileError:
        with path.open("rb") as file:
            whole = tolerant_mp4(file)
        if whole is None:
            raise
        return Fields.over(whole)


def names_of(path: Path, fields: Fields | None) -> Mapping[str, Any]:
    """Return the fields that names are made of, as in `ReadTags.values`, with NUL bytes in them.

    Args:
        path: of the file.
        fields: what `open_tags` has opened; None if it could not.

    Raises:
        OSError: if the file cannot be read.
    """
    found = _Found()
    if fields is not None:
        found.add_block(fields.mgfile, _OF_NAMES)
    if fields is None or getattr(fields, "type", "") in {"wav", "aiff"}:
        found.add(_of_texts(names_in_chunks(path).values, _CHUNK_FIELDS))
    if not found.values:
        head, tail = _ends(path, _SIGNATURE_BYTES, _SIGNATURE_BYTES)
        for block in found.other_blocks(path, head, tail, []):
            found.add_block(block, _OF_NAMES)
    return found.values


def names_in_chunks(path: Path) -> TextChunks:
    """Read the text chunks of a WAV, AIFF or CAF file; other files have none.

    Raises:
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        return read_text_chunks(file)


class _Found:
    """Collects what the blocks of tags of one file hold; the first that has a field gives it."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.present: set[str] = set()
        self.lost: set[str] = set()
        self.rejected = False
        self.failed = False

    def read_blocks(self, path: Path, head: bytes, tail: bytes) -> bool:
        """Read all that mutagen reads, and return whether it knows the kind of file."""
        blocks: list[Any] = []
        is_failed = False
        try:
            whole: Any = mutagen.File(os.fspath(path))
            is_known = whole is not None
        except Exception:  # whatever a damaged file makes a parser raise
            _logger.debug("mutagen rejects %s", path, exc_info=True)
            is_known, is_failed = True, True
            with path.open("rb") as file:
                whole = tolerant_mp4(file) or tolerant_flac(file)
            if whole is not None:
                is_failed, self.rejected = False, bool(whole.rejected)
        has_tags = whole is not None and whole.tags is not None
        if has_tags or getattr(whole, "pictures", None):
            blocks.append(held(whole))
        others = [*self.other_blocks(path, head, tail, blocks)]
        self.failed |= is_failed and not others
        blocks += others
        for block in blocks:
            self.add_block(block)
        return is_known

    def other_blocks(
        self, path: Path, head: bytes, tail: bytes, blocks: list[Any]
    ) -> Iterator[Any]:
        """Yield ID3 and APE tags before and behind the audio that mutagen has not looked for."""
        tags = [block.tags for block in blocks]
        ends = tail or head
        has_id3 = head[:3] == b"ID3" or has_id3v1(head, tail)
        for there, kind, holder in (
            (has_id3, mutagen.id3.ID3, Id3Tags),
            (b"APETAGEX" in ends, mutagen.apev2.APEv2, ApeTags),
        ):
            if not there or any(isinstance(one, kind) for one in tags):
                continue
            try:
                yield holder(kind(os.fspath(path)))
            except Exception:  # whatever a damaged tag makes a parser raise
                _logger.debug("mutagen rejects tags of %s", path, exc_info=True)
                self.failed = True

    def add_block(
        self,
        block: Any,  # noqa: ANN401 - one of mutagen's kinds of file
        names: Iterable[str] = FIELDS,
    ) -> None:
        """Add what one block of tags holds."""
        self.present |= _present(block)
        fields = Fields.over(block)
        values = {}
        for name in names:
            try:
                value, is_readable = _value(fields, name)
            except Exception:  # whatever a damaged tag makes a parser raise
                _logger.debug("unreadable: %s", name, exc_info=True)
                value, is_readable = None, False
            if value:
                values[name] = value
            if not is_readable:
                self.lost.add(name)
        self.add(values)

    def add(self, values: Mapping[str, Any]) -> None:
        """Add fields that no better block has."""
        self.values = {**values, **self.values}
        self.present |= values.keys()


def _ends(
    path: Path, head_bytes: int = _HEAD_BYTES, tail_bytes: int = _TAIL_BYTES
) -> tuple[bytes, bytes]:
    """Return the file's first bytes and its last ones; the latter are empty if it is short."""
    with path.open("rb") as file:
        head = file.read(head_bytes)
        end = file.seek(0, os.SEEK_END)
        if end <= len(head):
            return head, b""
        file.seek(max(end - tail_bytes, len(head)))
        return head, file.read()


def _present(block: Any) -> set[str]:  # noqa: ANN401 - one of mutagen's kinds of file
    """Return the fields that a block of tags has keys of, whatever their values."""
    tags = block.tags if block.tags is not None else {}
    keys = [str(key) for key in tags.keys()]  # noqa: SIM118 - not all of these are mappings
    if isinstance(tags, mutagen.id3.ID3):
        for chapter in tags.values():
            keys += getattr(chapter, "sub_frames", {}).keys()
    return fields_of(keys) | ({"images"} if getattr(block, "pictures", None) else set())


def _value(fields: Fields, name: str) -> tuple[Any, bool]:
    """Return a field's value, None if it has none, and whether what it has can be read."""
    if name in {"track", "disc"}:
        return numbered(getattr(fields, name), getattr(fields, f"{name}total")), True
    if name == "date":
        return _date(fields)
    return getattr(fields, name), True


def _cleaned_value(value: Any) -> Any:  # noqa: ANN401 - of any field
    """Return a text or texts as every file can hold them; any other value as it is."""
    if isinstance(value, str):
        return cleaned(value)
    if isinstance(value, list) and isinstance(value[0], str):
        return _parts(value)
    return value


def _date(fields: Fields) -> tuple[tuple[int, int | None, int | None] | None, bool]:
    if fields.year:
        return (fields.year, fields.month, fields.day), True
    return None, _NO_DATE.fullmatch(fields.date_text or "") is not None


def numbered(text: str | None, total: int | None) -> tuple[str | None, int | None] | None:
    """Return a track's number and their count from `3`, `3/12`, `03` or `A1`; None if neither."""
    text = cleaned(text or "")
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text, total or None
    number, of = int(match["number"] or 0), int(match["total"] or 0)
    total = total or of or None
    return (str(number) if number else None, total) if number or total else None


def cleaned(text: str) -> str:
    """Return a text without what not every file can hold: NUL bytes and lone surrogates."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.rstrip("\0").replace("\0", " ") if whole.strip("\0 \t\r\n") else ""


def _parts(texts: Iterable[str]) -> list[str]:
    """Return texts, which may each hold several, separated by NUL bytes; none is there twice."""
    parts = (cleaned(part) for text in texts for part in text.split("\0"))
    return [*dict.fromkeys(filter(None, parts))]


def _of_texts(texts: Mapping[str, list[str]], names: Mapping[str, str]) -> dict[str, Any]:
    """Return fields from texts that something else than mutagen has read."""
    values: dict[str, Any] = {}
    for key, found in texts.items():
        name = names.get(key)
        several = _parts(found)
        if name is None or name in values or not several:
            continue
        if name in _LISTS:
            values[name] = several
        elif name in {"track", "disc"}:
            values[name] = numbered(several[0], None)
        elif name == "date":
            match = _DATE.match(several[0])
            year, month, day = (
                (int(part or 0) or None for part in match.groups()) if match else _NONE
            )
            values[name] = (year, month, day) if year else None
        else:
            values[name] = "\n".join(several) if name == "comments" else several[0]
    return {name: value for name, value in values.items() if value}

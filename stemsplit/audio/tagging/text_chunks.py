"""Runs in both. Reads the text chunks of uncompressed audio files. Pure, but for the open file.

Before ID3 chunks came into use, containers held names in chunks of their own: `LIST INFO` in WAV
(Multimedia Programming Interface 1.0, chapter 2), `NAME`, `AUTH` and `ANNO` in AIFF, `info` in CAF.
Sizes in them are hints: what lies within the file is read, and nothing is raised.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_INFO_FIELDS = {
    b"INAM": "title",
    b"IART": "artist",
    b"IPRD": "album",
    b"ICRD": "date",
    b"IGNR": "genre",
    b"ITRK": "track",
    b"IPRT": "track",
    b"IMUS": "composer",
    b"ICMT": "comment",
}
_AIFF_FIELDS = {b"NAME": "title", b"AUTH": "artist", b"ANNO": "comment"}
_CAF_FIELDS = {
    "title": "title",
    "artist": "artist",
    "album": "album",
    "year": "date",
    "recorded date": "date",
    "genre": "genre",
    "track number": "track",
    "composer": "composer",
    "comments": "comment",
}

_MOST_CHUNKS = 10_000
"""Number of chunks that are looked at; a file of more is not of this world."""

_MOST_TEXT_BYTES = 2**24
_TAIL_BYTES = 2**16
"""Searched for a `LIST INFO` chunk when a wrong size hides it."""

_ENTRY_BYTES = 8
"""Of the header of a text in a `LIST INFO` chunk."""

_LIST_INFO = re.compile(rb"LIST([\s\S]{4})INFO")
_IDENTIFIER = re.compile(rb"[ -~]{4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChunks:
    """The text chunks of one file.

    Attributes:
        values: by `title`, `artist`, `album`, `date`, `genre`, `track`, `composer`, `comment`;
            each has at least one text, none of which is empty.
        damaged: whether sizes were wrong where texts lie, so that some of them may be missing.
    """

    values: dict[str, list[str]] = field(default_factory=dict)
    damaged: bool = False


def read_text_chunks(file: BinaryIO) -> TextChunks:
    """Read the text chunks of a WAV, RF64, AIFF or CAF file; of any other there are none.

    Args:
        file: open for reading, at any position; is left at another one.

    Raises:
        OSError: if the disk cannot be read.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] in {b"RIFF", b"RF64", b"BW64"} and head[8:] == b"WAVE":
        return _read_wav(file)
    if head[:4] == b"FORM" and head[8:] in {b"AIFF", b"AIFC"}:
        return _read_aiff(file)
    if head[:4] == b"caff":
        return _read_caf(file)
    return TextChunks()


def decoded(text: bytes) -> str:
    """Decode text of an unknown encoding, up to its first NUL: UTF-8, else Windows' cp1252."""
    text = text.partition(b"\0")[0]
    try:
        return text.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace").strip()


def _read_wav(file: BinaryIO) -> TextChunks:
    found = _Collector()
    seen = False
    for kind, start, size in _chunks(file, 12, "<4sI"):
        if kind == b"LIST" and _at(file, start, 4) == b"INFO":
            seen = True
            length = max(min(size - 4, _MOST_TEXT_BYTES), 0)
            _read_info(_at(file, start + 4, length + _TAIL_BYTES), length, found)
    if not seen:
        end = file.seek(0, os.SEEK_END)
        tail = _at(file, max(end - _TAIL_BYTES, 12), _TAIL_BYTES)
        for match in _LIST_INFO.finditer(tail):
            (size,) = struct.unpack("<I", match[1])
            _read_info(tail[match.end() :], max(size - 4, 0), found)
    return found.chunks()


def _read_info(data: bytes, length: int, found: _Collector) -> None:
    """Read the entries of a `LIST INFO` chunk.

    Args:
        data: what is behind its `INFO`, and what follows the chunk.
        length: of the entries in bytes, as the chunk says; more entries behind that are read, too.
        found: takes the texts.
    """
    position = 0
    while len(data) - position > _ENTRY_BYTES:
        kind, size = struct.unpack_from("<4sI", data, position)
        if position >= length and kind not in _INFO_FIELDS:
            return
        start, position = position, position + _ENTRY_BYTES + size
        text = data[start + _ENTRY_BYTES : position]
        if kind in _INFO_FIELDS:
            found.add(_INFO_FIELDS[kind], text)
        is_beyond = position > min(length, len(data)) and data[position:][:4] not in _INFO_FIELDS
        if not _IDENTIFIER.fullmatch(kind) or (is_beyond and start < length):
            # The size of this entry, or of the one before, is wrong.
            found.damaged |= bool(data[start:length].strip(b"\0"))
            return
        if size % 2 and data[position : position + 1] == b"\0":  # some writers leave it out
            position += 1
    found.damaged |= bool(data[position:length].strip(b"\0"))


def _read_aiff(file: BinaryIO) -> TextChunks:
    found = _Collector()
    end = file.seek(0, os.SEEK_END)
    for kind, start, size in _chunks(file, 12, ">4sI"):
        if kind in _AIFF_FIELDS:
            found.damaged |= size > end - start
            found.add(_AIFF_FIELDS[kind], _at(file, start, min(size, _MOST_TEXT_BYTES)))
    return found.chunks()


def _read_caf(file: BinaryIO) -> TextChunks:
    found = _Collector()
    for kind, start, size in _chunks(file, 8, ">4sQ", padded=False):
        if kind == b"info":
            texts = _at(file, start, min(size, _MOST_TEXT_BYTES))[4:].split(b"\0")
            for key, value in zip(texts[::2], texts[1::2], strict=False):
                name = _CAF_FIELDS.get(decoded(key).lower())
                if name:
                    found.add(name, value)
    return found.chunks()


class _Collector:
    """Collects texts by field."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}
        self.damaged = False

    def add(self, name: str, text: bytes) -> None:
        """Add a text unless it is empty, or there already."""
        value = decoded(text)
        if value and value not in self._values.get(name, ()):
            self._values.setdefault(name, []).append(value)

    def chunks(self) -> TextChunks:
        """Return what was collected."""
        return TextChunks(values=self._values, damaged=self.damaged)


def _chunks(
    file: BinaryIO, position: int, form: str, *, padded: bool = True
) -> Iterator[tuple[bytes, int, int]]:
    """Yield identifier, start and size of each chunk, up to one that lies beyond the file's end."""
    header = struct.calcsize(form)
    end = file.seek(0, os.SEEK_END)
    large = 0
    for _ in range(_MOST_CHUNKS):
        data = _at(file, position, header)
        if len(data) < header:
            return
        kind, size = struct.unpack(form, data)
        if not _IDENTIFIER.fullmatch(kind):
            return
        start = position + header
        if kind == b"ds64":  # RF64: sizes of 64 bits
            sizes = _at(file, start, 16)
            large = struct.unpack_from("<Q", sizes, 8)[0] if len(sizes) == 16 else 0  # noqa: PLR2004
        if kind == b"data" and size == 2**32 - 1 and large:
            size = large
        yield kind, start, size
        position = start + size
        if padded and size % 2 and not _IDENTIFIER.fullmatch(_at(file, position, 4)):
            position += 1
        if position >= end:
            return


def _at(file: BinaryIO, position: int, count: int) -> bytes:
    if count <= 0:
        return b""
    file.seek(position)
    return file.read(count)

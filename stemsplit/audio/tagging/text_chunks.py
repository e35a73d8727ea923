"""Runs in both. Reads the text chunks of uncompressed audio files.

Before ID3 chunks became common, these containers stored tags in dedicated chunks: `LIST INFO` in
WAV (Multimedia Programming Interface 1.0, chapter 2), `NAME`, `AUTH` and `ANNO` in AIFF, `info` in
CAF. Declared sizes are only hints: everything inside the file is read, and wrong sizes raise
nothing.
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

_MAX_CHUNKS = 10_000
"""Number of chunks to read; no real file has more."""

_MAX_TEXT_BYTES = 2**24
_TAIL_BYTES = 2**16
"""Size of the end of the file that is searched for a `LIST INFO` chunk hidden by a wrong size."""

_ENTRY_BYTES = 8
"""Size of the header of each text in a `LIST INFO` chunk."""

_LIST_INFO = re.compile(rb"LIST([\s\S]{4})INFO")
_IDENTIFIER = re.compile(rb"[ -~]{4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChunks:
    """The text chunks of one file.

    Attributes:
        values: texts by `title`, `artist`, `album`, `date`, `genre`, `track`, `composer` or
            `comment`: at least one each, none of them empty.
        damaged: whether sizes near the texts were wrong, so that some texts may be missing.
    """

    values: dict[str, list[str]] = field(default_factory=dict)
    damaged: bool = False


def read_text_chunks(file: BinaryIO) -> TextChunks:
    """Read the text chunks of an open WAV, RF64, AIFF or CAF file; other files have none.

    Raises:
        OSError: if the file cannot be read.
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


def decode_text(text: bytes) -> str:
    """Decode text up to its first NUL as UTF-8; as Windows' cp1252 if it is not valid UTF-8."""
    text = text.partition(b"\0")[0]
    try:
        return text.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace").strip()


def _read_wav(file: BinaryIO) -> TextChunks:
    collector = _Collector()
    has_info = False
    for identifier, start, size in _chunks(file, 12, "<4sI"):
        if identifier == b"LIST" and _read_at(file, start, 4) == b"INFO":
            has_info = True
            length = max(min(size - 4, _MAX_TEXT_BYTES), 0)
            _read_info(_read_at(file, start + 4, length + _TAIL_BYTES), length, collector)
    if not has_info:
        end = file.seek(0, os.SEEK_END)
        tail = _read_at(file, max(end - _TAIL_BYTES, 12), _TAIL_BYTES)
        for match in _LIST_INFO.finditer(tail):
            (size,) = struct.unpack("<I", match[1])
            _read_info(tail[match.end() :], max(size - 4, 0), collector)
    return collector.chunks()


def _read_info(data: bytes, length: int, collector: _Collector) -> None:
    """Read the entries of a `LIST INFO` chunk from the bytes after `INFO`.

    `length` is the declared size of the entries; known entries after that are read as well.
    """
    position = 0
    while len(data) - position > _ENTRY_BYTES:
        identifier, size = struct.unpack_from("<4sI", data, position)
        if position >= length and identifier not in _INFO_FIELDS:
            return
        start, position = position, position + _ENTRY_BYTES + size
        text = data[start + _ENTRY_BYTES : position]
        if identifier in _INFO_FIELDS:
            collector.add(_INFO_FIELDS[identifier], text)
        is_beyond = position > min(length, len(data)) and data[position:][:4] not in _INFO_FIELDS
        if not _IDENTIFIER.fullmatch(identifier) or (is_beyond and start < length):
            # The size of this entry or of the previous one is wrong.
            collector.damaged |= bool(data[start:length].strip(b"\0"))
            return
        if size % 2 and data[position : position + 1] == b"\0":  # some programs omit the padding
            position += 1
    collector.damaged |= bool(data[position:length].strip(b"\0"))


def _read_aiff(file: BinaryIO) -> TextChunks:
    collector = _Collector()
    end = file.seek(0, os.SEEK_END)
    for identifier, start, size in _chunks(file, 12, ">4sI"):
        if identifier in _AIFF_FIELDS:
            collector.damaged |= size > end - start
            text = _read_at(file, start, min(size, _MAX_TEXT_BYTES))
            collector.add(_AIFF_FIELDS[identifier], text)
    return collector.chunks()


def _read_caf(file: BinaryIO) -> TextChunks:
    collector = _Collector()
    for identifier, start, size in _chunks(file, 8, ">4sQ", padded=False):
        if identifier == b"info":
            texts = _read_at(file, start, min(size, _MAX_TEXT_BYTES))[4:].split(b"\0")
            for key, value in zip(texts[::2], texts[1::2], strict=False):
                name = _CAF_FIELDS.get(decode_text(key).lower())
                if name:
                    collector.add(name, value)
    return collector.chunks()


class _Collector:
    """Collects texts by field."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}
        self.damaged = False

    def add(self, name: str, text: bytes) -> None:
        """Add a text, unless it is empty or a duplicate."""
        value = decode_text(text)
        if value and value not in self._values.get(name, ()):
            self._values.setdefault(name, []).append(value)

    def chunks(self) -> TextChunks:
        return TextChunks(values=self._values, damaged=self.damaged)


def _chunks(
    file: BinaryIO, position: int, header_format: str, *, padded: bool = True
) -> Iterator[tuple[bytes, int, int]]:
    """Yield identifier, start and size of each chunk, up to one that exceeds the file."""
    header_bytes = struct.calcsize(header_format)
    end = file.seek(0, os.SEEK_END)
    large = 0
    for _ in range(_MAX_CHUNKS):
        data = _read_at(file, position, header_bytes)
        if len(data) < header_bytes:
            return
        identifier, size = struct.unpack(header_format, data)
        if not _IDENTIFIER.fullmatch(identifier):
            return
        start = position + header_bytes
        if identifier == b"ds64":  # RF64: 64-bit sizes
            sizes = _read_at(file, start, 16)
            large = struct.unpack_from("<Q", sizes, 8)[0] if len(sizes) == 16 else 0  # noqa: PLR2004
        if identifier == b"data" and size == 2**32 - 1 and large:
            size = large
        yield identifier, start, size
        position = start + size
        if padded and size % 2 and not _IDENTIFIER.fullmatch(_read_at(file, position, 4)):
            position += 1
        if position >= end:
            return


def _read_at(file: BinaryIO, position: int, count: int) -> bytes:
    if count <= 0:
        return b""
    file.seek(position)
    return file.read(count)

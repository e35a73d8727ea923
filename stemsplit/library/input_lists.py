"""Runs in the supervisor. Reads lists of paths: lines, NUL-terminated paths, or M3U playlists."""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from stemsplit.core.errors import UsageError
from stemsplit.storage.urls import path_of

if TYPE_CHECKING:
    from typing import BinaryIO

_MAX_BYTES = 2**27
"""Maximum size of a list, about a million paths; a device may have no end."""

_MIN_BYTES_PER_PATH = 3
"""Minimum average length in a NUL-terminated list; UTF-16 without a byte order mark has less."""

_PLAYLIST_SUFFIXES = (".m3u", ".m3u8")
_PLAYLIST_HEADER = b"#EXTM3U"
_DIRECTIVE = b"#EXT"
_FILE_URL = re.compile(rb"file:(?://(?:localhost)?)?(?=/)", re.IGNORECASE)
_WINDOWS_DRIVE = re.compile(rb"/[a-z]:[/\\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathList:
    """The paths of a list.

    Attributes:
        paths: in the order of the list, as written there.
        base: folder that relative paths start from; None for the current folder.
    """

    paths: tuple[Path, ...]
    base: Path | None = None


def read_list(stream: BinaryIO, what: str, file: Path | None = None) -> PathList:
    """Read a list of paths, one per line, or NUL-terminated if it contains a NUL.

    Lines may end as on Windows. Empty lines are ignored, and so are lines that begin with `#EXT`,
    unless a file has that name. In a playlist, which is recognised by its extension or first line,
    `#` begins a comment, and relative paths start from the playlist's folder.

    Args:
        stream: the list.
        what: name of the list, for error messages.
        file: path of the list; None if it has none.

    Raises:
        UsageError: if the list has no paths, or is too large.
    """
    content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise UsageError(
            f"{what} is too large for a list: more than {_MAX_BYTES:,} bytes.",
            "Use a file with one path per line.",
        )
    text = _as_utf_8(content, what)
    has_playlist_extension = file is not None and file.suffix.lower() in _PLAYLIST_SUFFIXES
    if b"\0" in text:  # written by a program, so without comments
        entries, is_playlist = text.split(b"\0"), False
    else:
        entries = [line.rstrip(b"\r") for line in text.split(b"\n")]
        is_playlist = has_playlist_extension or text.startswith(_PLAYLIST_HEADER)
        entries = [entry for entry in entries if not _is_comment(entry, is_playlist=is_playlist)]
    paths = tuple(_path(entry) for entry in entries if entry)
    if not paths:
        raise UsageError(f"{what} contains no paths.", "Write one path per line.")
    return PathList(paths=paths, base=file.parent if is_playlist and file is not None else None)


def _is_comment(line: bytes, *, is_playlist: bool) -> bool:
    if is_playlist:
        return line.startswith(b"#")
    return line.startswith(_DIRECTIVE) and not os.path.lexists(line)


def _path(entry: bytes) -> Path:
    """Return the path of an entry, with the escapes of a `file://` URL decoded."""
    url = _FILE_URL.match(entry)
    if url is None:
        return path_of(os.fsdecode(entry))
    raw = entry[url.end() :]
    path = unquote_to_bytes(raw)
    if os.path.lexists(raw) and not os.path.lexists(path):  # written without escapes
        path = raw
    has_drive = os.name == "nt" and _WINDOWS_DRIVE.match(path)
    return Path(os.fsdecode(path[1:] if has_drive else path))


def _as_utf_8(text: bytes, what: str) -> bytes:
    """Return a list as UTF-8 without a byte order mark; UTF-16 with one is converted."""
    if text.startswith(codecs.BOM_UTF8):
        return text.removeprefix(codecs.BOM_UTF8)
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return text.decode("utf-16").encode()
        except UnicodeError:
            pass
    elif b"\0\0" not in text and text.count(b"\0") <= len(text) / _MIN_BYTES_PER_PATH:
        return text
    raise UsageError(f"{what} is not a list of files.", "Write one path per line, in UTF-8.")

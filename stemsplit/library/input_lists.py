"""Runs in the supervisor. Lists of files, as other programs write them, to paths.

That is one path a line, paths that each end with NUL, and the playlists of players (M3U).
"""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from stemsplit.core.errors import UsageError
from stemsplit.storage.remote import path_of

if TYPE_CHECKING:
    from typing import BinaryIO

_MOST_BYTES = 2**27
"""Of a list: a million paths. A device that is taken for one never ends."""

_LEAST_BYTES_A_PATH = 3
"""Of a list whose paths end with NUL, on average: a text in UTF-16 without a mark is none."""


_PLAYLIST_SUFFIXES = (".m3u", ".m3u8")
_PLAYLIST_MARK = b"#EXTM3U"
_DIRECTIVE = b"#EXT"
_FILE_URL = re.compile(rb"file:(?://(?:localhost)?)?(?=/)", re.IGNORECASE)
_WINDOWS_DRIVE = re.compile(rb"/[a-z]:[/\\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathList:
    """What a list names.

    Attributes:
        paths: in its order, as they are written.
        base: the folder that relative ones are relative to; None is the current folder.
    """

    paths: tuple[Path, ...]
    base: Path | None = None


def read_list(stream: BinaryIO, what: str, file: Path | None = None) -> PathList:
    """Read paths from a list, one a line, or each ended by a NUL where there is one.

    Lines may end as on Windows. Empty ones are left out, and so are those that begin with `#EXT`,
    unless a file bears that name. In a playlist, known by the ending of its name or by its first
    line, `#` begins a comment, and relative paths are relative to the playlist's folder.

    Args:
        stream: what to read.
        what: its name, for the error.
        file: its path; None for a stream without one.

    Raises:
        UsageError: if there is no path in it, or it is larger than any list.
    """
    content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise UsageError(
            f"{what} is too large for a list: more than {_MOST_BYTES:,} bytes.",
            "Name a file that holds one path a line.",
        )
    text = _as_utf_8(content, what)
    is_named_so = file is not None and file.suffix.lower() in _PLAYLIST_SUFFIXES
    if b"\0" in text:  # by a program, which writes no comments
        entries, is_playlist = text.split(b"\0"), False
    else:
        entries = [line.rstrip(b"\r") for line in text.split(b"\n")]
        is_playlist = is_named_so or text.startswith(_PLAYLIST_MARK)
        entries = [one for one in entries if not _is_comment(one, is_playlist=is_playlist)]
    paths = tuple(_path(entry) for entry in entries if entry)
    if not paths:
        raise UsageError(f"{what} names no files.", "Write one path a line.")
    return PathList(paths=paths, base=file.parent if is_playlist and file is not None else None)


def _is_comment(line: bytes, *, is_playlist: bool) -> bool:
    if is_playlist:
        return line.startswith(b"#")
    return line.startswith(_DIRECTIVE) and not os.path.lexists(line)


def _path(entry: bytes) -> Path:
    """Give the path of an entry; the escapes of a `file://` URL are resolved."""
    found = _FILE_URL.match(entry)
    if found is None:
        return path_of(os.fsdecode(entry))
    raw = entry[found.end() :]
    path = unquote_to_bytes(raw)
    if os.path.lexists(raw) and not os.path.lexists(path):  # of a program that escapes nothing
        path = raw
    has_drive = os.name == "nt" and _WINDOWS_DRIVE.match(path)
    return Path(os.fsdecode(path[1:] if has_drive else path))


def _as_utf_8(text: bytes, what: str) -> bytes:
    """Give a list without a byte order mark; what Windows writes in UTF-16 is converted."""
    if text.startswith(codecs.BOM_UTF8):
        return text.removeprefix(codecs.BOM_UTF8)
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return text.decode("utf-16").encode()
        except UnicodeError:
            pass
    elif b"\0\0" not in text and text.count(b"\0") <= len(text) / _LEAST_BYTES_A_PATH:
        return text
    raise UsageError(f"{what} is no list of files.", "Write one path a line, in UTF-8.")

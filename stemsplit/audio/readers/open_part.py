"""Runs in the child. Opens a part of a file with the library that reads it best.

libsndfile is tried first: it is small, exact at both ends of MP3 and Vorbis, and enough for most
music collections. FFmpeg's libraries read what it does not, and the channel order of FLAC and Ogg.
If neither reads the part, the error names what the file is, where that can be detected.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import filetype

from stemsplit.audio.containers.copy_protection import protection_scheme
from stemsplit.audio.containers.file_bytes import FileBytes
from stemsplit.audio.containers.mp4_boxes import lacks_index
from stemsplit.audio.readers.base import NotReadableError
from stemsplit.audio.readers.sndfile import SndfileReader
from stemsplit.core.errors import BadInputError
from stemsplit.core.settings import STEREO
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.audio.containers.parts import Part
    from stemsplit.audio.readers.base import Reader

_HAVE_OTHER_CHANNEL_MAPS = frozenset({"FLAC", "OGG"})
"""Formats that name their channels where libsndfile does not look."""

_HEAD_BYTES = 4096
_COPY_AGAIN = "Download or copy it again."


def open_part(path: Path, part: Part, audio_track: str | None = None) -> Reader:
    """Open a part with the library that reads it best.

    Raises:
        BadInputError: if neither library can read it.
    """
    if part.fallback_part is not None:
        with contextlib.suppress(BadInputError):
            return open_part(path, replace(part, fallback_part=None), audio_track)
        return open_part(path, part.fallback_part, audio_track)
    reader = _open_with_libsndfile(path, part)
    if reader is not None:
        are_channels_known = reader.info.channels <= STEREO or reader.has_channel_map
        if are_channels_known or reader.info.format not in _HAVE_OTHER_CHANNEL_MAPS:
            return reader
    if reader is None:
        _refuse_text(path)
    _refuse_protected(path)
    from stemsplit.audio.readers.libav import LibavReader

    try:
        libav_reader = LibavReader(path, part, audio_track)
    except BadInputError:
        if reader is not None:
            return reader
        raise
    except NotReadableError as error:
        if reader is not None:
            return reader
        raise _unknown_format(path, str(error)) from error
    if reader is not None:
        reader.close()
    return libav_reader


def _open_with_libsndfile(path: Path, part: Part) -> SndfileReader | None:
    if not part.can_use_libsndfile:
        return None
    try:
        return SndfileReader(path, part)
    except NotReadableError:
        if part.fallback_pieces is None:
            return None
        fallback = replace(part, pieces=part.fallback_pieces, fallback_pieces=None)
        return _open_with_libsndfile(path, fallback)


def _refuse_protected(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        data = FileBytes(file)
        scheme, is_index_missing = protection_scheme(data), lacks_index(data)
    if is_index_missing:
        raise BadInputError(
            f"{quoted(path.name)} is truncated: the index at its end (moov) is missing, and "
            "without it the file cannot be read.",
            _COPY_AGAIN,
        )
    if scheme:
        raise BadInputError(
            f"{quoted(path.name)} is copy-protected ({scheme}): it plays only in authorised "
            "programs.",
            "Use an unprotected copy: buy one, or export it from such a program.",
        )


def _refuse_text(path: Path) -> None:
    """Refuse playlists, web pages and other text, in which FFmpeg detects all kinds of audio."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not _is_text(head):
        return
    name, text = quoted(path.name), head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"#extm3u", b"[playlist]", b"<asx")):
        raise BadInputError(
            f"{name} is a playlist, not audio.", "Pass an .m3u playlist with --from-file."
        )
    if text.startswith((b"<!doctype html", b"<html")):
        raise BadInputError(f"{name} is a web page, not audio.", _COPY_AGAIN)
    raise BadInputError(f"{name} is a text file, not audio.", "Rename or remove it.")


def _unknown_format(path: Path, reason: str) -> BadInputError:
    with path.open("rb") as file:
        guess = filetype.guess(file.read(_HEAD_BYTES))
    mime_type = "" if guess is None else str(guess.mime)
    name, reason = quoted(path.name), reason.rstrip(".")
    if not mime_type:
        return BadInputError(
            f"{name} is not in an audio format that stemsplit can read ({reason}).",
            "Check what it is, or export it again as WAV or FLAC.",
        )
    if mime_type.startswith(("audio/", "video/")):
        return BadInputError(
            f"{name} starts like {mime_type}, but the rest cannot be decoded ({reason}).",
            _COPY_AGAIN,
        )
    return BadInputError(f"{name} is not audio but {mime_type}.", "Rename or remove it.")


def _is_text(head: bytes) -> bool:
    """Return whether bytes are UTF-8 without control characters."""
    try:
        text = head.decode(errors="strict")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # the last character may be incomplete
            return False
        text = head[: error.start].decode()
    return all(character.isprintable() or character in "\r\n\t" for character in text)

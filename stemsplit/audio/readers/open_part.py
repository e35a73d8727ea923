"""Runs in both. A part of a file, opened with the library that serves it best.

libsndfile is asked first: it is small, exact at both ends of MP3 and Vorbis, and enough for what
most libraries hold. FFmpeg's libraries read what it does not, and tell which channel is which in
FLAC and Ogg. What neither reads is refused by name where that can be told.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import filetype

from stemsplit.audio.containers import mp4_boxes
from stemsplit.audio.containers.byte_view import FileBytes
from stemsplit.audio.containers.protection import protection_of
from stemsplit.audio.readers import NotReadableError
from stemsplit.audio.readers.sndfile import SndfileReader
from stemsplit.core.errors import BadInputError
from stemsplit.core.settings import STEREO
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.audio.containers.parts import Part
    from stemsplit.audio.readers import Reader

_NAMED_ELSEWHERE = frozenset({"FLAC", "OGG"})
"""Formats that say which channel is which where libsndfile does not look."""

_HEAD_BYTES = 4096
_COPY_AGAIN = "Download or copy it again."


def open_part(path: Path, part: Part, audio_track: str | None = None) -> Reader:
    """Open a part with the library that serves it best.

    Raises:
        BadInputError: if neither can make anything of it.
    """
    if part.otherwise is not None:
        with contextlib.suppress(BadInputError):
            return open_part(path, replace(part, otherwise=None), audio_track)
        return open_part(path, part.otherwise, audio_track)
    reader = _by_libsndfile(path, part)
    if reader is not None:
        is_clear = reader.info.channels <= STEREO or reader.are_named
        if is_clear or reader.info.format not in _NAMED_ELSEWHERE:
            return reader
    if reader is None:
        _refuse_text(path)
    _refuse_protected(path)
    from stemsplit.audio.readers.libav import LibavReader

    try:
        other = LibavReader(path, part, audio_track)
    except BadInputError:
        if reader is not None:
            return reader
        raise
    except NotReadableError as error:
        if reader is not None:
            return reader
        raise _unknown(path, str(error)) from error
    if reader is not None:
        reader.close()
    return other


def _by_libsndfile(path: Path, part: Part) -> SndfileReader | None:
    """Open a part with libsndfile; None where that makes nothing of it."""
    if not part.is_for_libsndfile:
        return None
    try:
        return SndfileReader(path, part)
    except NotReadableError:
        if part.spare is None:
            return None
        return _by_libsndfile(path, replace(part, pieces=part.spare, spare=None))


def _refuse_protected(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        data = FileBytes(file)
        scheme, lacks_index = protection_of(data), mp4_boxes.lacks_index(data)
    if lacks_index:
        raise BadInputError(
            f"{quoted(path.name)} is cut off: the index at its end (moov) is missing, and nothing "
            "can be found without it.",
            _COPY_AGAIN,
        )
    if scheme:
        raise BadInputError(
            f"{quoted(path.name)} is copy-protected ({scheme}): it plays only in authorised "
            "programs.",
            "Use a copy without protection, from the shop or exported by such a program.",
        )


def _refuse_text(path: Path) -> None:
    """Refuse playlists, web pages and other texts, which FFmpeg takes for all kinds of sound."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not _is_text(head):
        return
    name, text = quoted(path.name), head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"#extm3u", b"[playlist]", b"<asx")):
        raise BadInputError(
            f"{name} is a playlist, not audio.", "Give an .m3u playlist with --from-file."
        )
    if text.startswith((b"<!doctype html", b"<html")):
        raise BadInputError(f"{name} is a web page, not audio.", _COPY_AGAIN)
    raise BadInputError(f"{name} is a text file, not audio.", "Rename or remove it.")


def _unknown(path: Path, why: str) -> BadInputError:
    with path.open("rb") as file:
        guess = filetype.guess(file.read(_HEAD_BYTES))
    kind = "" if guess is None else str(guess.mime)
    name, fault = quoted(path.name), why.rstrip(".")
    if not kind:
        return BadInputError(
            f"{name} is not in an audio format that stemsplit can read ({fault}).",
            "Check what it is, or export it again as WAV or FLAC.",
        )
    if kind.startswith(("audio/", "video/")):
        return BadInputError(
            f"{name} starts like {kind}, but the rest of it cannot be decoded ({fault}).",
            _COPY_AGAIN,
        )
    return BadInputError(f"{name} is not audio: it holds {kind}.", "Rename or remove it.")


def _is_text(head: bytes) -> bool:
    """Tell whether bytes are UTF-8 without control characters."""
    try:
        text = head.decode(errors="strict")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # what is cut at the end may be a character
            return False
        text = head[: error.start].decode()
    return all(one.isprintable() or one in "\r\n\t" for one in text)

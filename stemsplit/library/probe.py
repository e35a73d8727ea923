"""Runs in the supervisor. Probes audio files: duration and tags from their headers.

For plans and names. Only the child determines how many samples a file contains.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from typing import TYPE_CHECKING

import filetype
import mediafile
import msgspec

from stemsplit.audio.tagging.read_tags import open_tags, read_naming_tags
from stemsplit.core.audio_info import MAX_FRAMES_PER_BYTE
from stemsplit.core.probe import Probe, Tags
from stemsplit.core.settings import MODEL_SAMPLE_RATE
from stemsplit.library.extensions import LOSSY_EXTENSIONS, VIDEO_EXTENSIONS
from stemsplit.library.signatures import HEAD_BYTES, is_media_head

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.audio.tagging.fields import Fields
    from stemsplit.storage.remote_files import FileStatus

_logger = logging.getLogger(__name__)


_NO_NUMBER = (None, None)
_MAX_DIGITS = 9
_SAMPLE_BLOCK_BYTES = 16_384
"""Block size at the head, the middle and the tail of a file, where tags and audio change."""


def probe_file(path: Path, status: os.stat_result) -> Probe:
    """Return the probe of a file, without what cannot be read. Never raises."""
    probe = Probe(
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        is_film=path.suffix.lower() in VIDEO_EXTENSIONS,
        sample=sample_hash(path),
    )
    try:
        media = open_tags(path)
        return msgspec.structs.replace(
            probe,
            seconds=_plausible_seconds(media, status.st_size),
            sample_rate=media.samplerate or None,
            tags=_tags(path, media),
        )
    except mediafile.UnreadableFileError:
        tags = Tags()
        with contextlib.suppress(Exception):  # whatever a damaged file makes a parser raise
            tags = _tags(path, None)
        return msgspec.structs.replace(probe, is_other=_other_mime_type(path), tags=tags)
    except Exception:
        _logger.debug("no tags in %s", path, exc_info=True)
        return probe


def probe_remote_file(path: Path, status: FileStatus) -> Probe:
    """Return the probe of a remote file, from its name and metadata alone."""
    return Probe(
        size_bytes=status.size_bytes,
        modified_ns=status.modified_ns,
        is_film=path.suffix.lower() in VIDEO_EXTENSIONS,
        is_lossy=path.suffix.lower() in LOSSY_EXTENSIONS,
    )


def _plausible_seconds(media: Fields, size_bytes: int) -> float | None:
    """Return the duration, None if the header has none or more than the file can contain."""
    seconds = float(media.length or 0.0)
    most = size_bytes * MAX_FRAMES_PER_BYTE / (media.samplerate or MODEL_SAMPLE_RATE)
    return seconds if 0 < seconds <= most else None


def _tags(path: Path, media: Fields | None) -> Tags:
    values = read_naming_tags(path, media)
    (track, _), (disc, _) = values.get("track", _NO_NUMBER), values.get("disc", _NO_NUMBER)
    year, _, _ = values.get("date", (None, None, None))
    return Tags(
        title=values.get("title", ""),
        artist=values.get("artists", ("",))[0],
        albumartist=values.get("albumartists", ("",))[0],
        album=values.get("album", ""),
        genre=values.get("genres", ("",))[0],
        track=_whole(track),
        disc=_whole(disc),
        year=year,
    )


def _whole(number: str | None) -> int | None:
    """Return a track or disc number, None if it is none, such as A1, or too long."""
    is_number = number is not None and len(number) <= _MAX_DIGITS
    return int(number) if is_number and number and number.lstrip("-").isdecimal() else None


def sample_hash(path: Path) -> bytes:
    """Return a hash of the head, middle and tail of a file; empty if it cannot be read.

    Distinguishes a file whose time has shifted from one whose content has changed, with three short
    reads for any size.
    """
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        hashed = hashlib.blake2b(size.to_bytes(8, "big"), digest_size=16)
        for position in (0, (size - _SAMPLE_BLOCK_BYTES) // 2, size - _SAMPLE_BLOCK_BYTES):
            file.seek(max(position, 0))
            hashed.update(file.read(_SAMPLE_BLOCK_BYTES))
        return hashed.digest()
    return b""


def has_media_head(path: Path) -> bool:
    """Return whether a file is audio or video by its first bytes, whatever its name."""
    return is_media_head(_head(path))


def _other_mime_type(path: Path) -> str:
    head = _head(path)
    guess = None if is_media_head(head) else filetype.guess(head)
    mime_type = "" if guess is None else str(guess.mime)
    return "" if mime_type.startswith(("audio/", "video/")) else mime_type


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""

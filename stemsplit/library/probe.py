"""Runs in the supervisor. A first look into audio files: how long, and what they are called.

Good for plans and names alone. How many samples a file really holds, the child finds out.
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

from stemsplit.audio.tagging.reader import names_of, open_tags
from stemsplit.core.audio_info import MOST_FRAMES_A_BYTE
from stemsplit.core.probe import Probe, Tags
from stemsplit.core.settings import MODEL_SAMPLE_RATE
from stemsplit.library.extensions import FILM_SUFFIXES, LOSSY_SUFFIXES
from stemsplit.library.signatures import HEAD_BYTES, is_sound

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.audio.tagging.fields import Fields
    from stemsplit.storage.remote import Status

_logger = logging.getLogger(__name__)


_NO_NUMBER = (None, None)
_MOST_DIGITS = 9
_SAMPLE_BLOCK_BYTES = 16_384
"""Read from the head, the middle and the tail of a file: where tags and music change."""


def probe(path: Path, status: os.stat_result) -> Probe:
    """Look into one file; what cannot be read there is left open. Never raises."""
    look = Probe(
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        is_film=path.suffix.lower() in FILM_SUFFIXES,
        sample=sample_of(path),
    )
    try:
        media = open_tags(path)
        return msgspec.structs.replace(
            look,
            seconds=_plausible_seconds(media, status.st_size),
            sample_rate=media.samplerate or None,
            tags=_tags(path, media),
        )
    except mediafile.UnreadableFileError:
        tags = Tags()
        with contextlib.suppress(Exception):  # whatever a damaged file makes a parser raise
            tags = _tags(path, None)
        return msgspec.structs.replace(look, is_other=_other_kind(path), tags=tags)
    except Exception:
        _logger.debug("no tags in %s", path, exc_info=True)
        return look


def probe_remote(path: Path, there: Status) -> Probe:
    """Describe a remote file by what is known without fetching it."""
    return Probe(
        size_bytes=there.size_bytes,
        modified_ns=there.modified_ns,
        is_film=path.suffix.lower() in FILM_SUFFIXES,
        is_lossy=path.suffix.lower() in LOSSY_SUFFIXES,
    )


def _plausible_seconds(media: Fields, size_bytes: int) -> float | None:
    """Give the duration unless there is none, or more than the file can hold: a broken header."""
    seconds = float(media.length or 0.0)
    most = size_bytes * MOST_FRAMES_A_BYTE / (media.samplerate or MODEL_SAMPLE_RATE)
    return seconds if 0 < seconds <= most else None


def _tags(path: Path, media: Fields | None) -> Tags:
    values = names_of(path, media)
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
    """Return a number that is one, and of a sane length; some tracks are called A1."""
    is_number = number is not None and len(number) <= _MOST_DIGITS
    return int(number) if is_number and number and number.lstrip("-").isdecimal() else None


def sample_of(path: Path) -> bytes:
    """Return a hash of three blocks of a file, head, middle and tail; empty if it is unreadable.

    Together with size and time it tells a file whose time alone has shifted from one that has
    changed. Costs three short reads, whatever the size.
    """
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        hashed = hashlib.blake2b(size.to_bytes(8, "big"), digest_size=16)
        for at in (0, (size - _SAMPLE_BLOCK_BYTES) // 2, size - _SAMPLE_BLOCK_BYTES):
            file.seek(max(at, 0))
            hashed.update(file.read(_SAMPLE_BLOCK_BYTES))
        return hashed.digest()
    return b""


def sounds(path: Path) -> bool:
    """Tell whether a file holds audio or is a film by its first bytes, whatever its name is."""
    return is_sound(_head(path))


def _other_kind(path: Path) -> str:
    head = _head(path)
    guess = None if is_sound(head) else filetype.guess(head)
    kind = "" if guess is None else str(guess.mime)
    return "" if kind.startswith(("audio/", "video/")) else kind


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""

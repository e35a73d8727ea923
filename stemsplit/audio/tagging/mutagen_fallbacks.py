"""Runs in both. Reads tags that mutagen rejects or ignores: in MP4, FLAC, ID3 and APE."""

from __future__ import annotations

import io
import logging
from typing import Any, BinaryIO

import mutagen
import mutagen.apev2
import mutagen.flac
import mutagen.id3
import mutagen.mp4

_logger = logging.getLogger(__name__)

_WITH_ID3 = frozenset({"MP3", "AIFF", "DSF", "WAVE"})
"""mutagen's file types in which mediafile expects ID3 tags."""


class Id3Tags(mutagen.FileType):
    """ID3 tags of a file in which mutagen does not look for them."""

    def __init__(self, tags: Any) -> None:  # noqa: ANN401 - mutagen's tags of any type
        self.tags = tags


class ApeTags(Id3Tags):
    """APE tags of a file in which mutagen does not look for them."""


class _Flac(Id3Tags):
    """Vorbis comments and pictures of a FLAC file that mutagen partly rejects."""

    def __init__(self, tags: Any, pictures: list[mutagen.flac.Picture], rejected: int) -> None:  # noqa: ANN401 - likewise
        super().__init__(tags)
        self.pictures = pictures
        self.rejected = rejected


class _TolerantMp4Tags(mutagen.mp4.MP4Tags):
    """Parses each atom separately, and skips those that mutagen rejects."""

    rejected = 0

    def load(self, atoms: Any, fileobj: Any) -> None:  # noqa: ANN401 - mutagen's inner types
        entries = atoms.path(b"moov", b"udta", b"meta", b"ilst")[-1]
        for entry in list(entries.children or ()):
            entries.children = [entry]
            try:
                super().load(atoms, fileobj)
            except Exception:  # mutagen raises anything on a damaged atom
                _logger.debug("unreadable: %s", entry.name, exc_info=True)
                self.rejected += 1


class _TolerantMp4(mutagen.mp4.MP4):
    """An MP4 file without the tag atoms that mutagen rejects."""

    MP4Tags = _TolerantMp4Tags

    @property
    def rejected(self) -> int:
        return getattr(self.tags, "rejected", 0)


# mediafile identifies file types by the names of mutagen's classes.
Id3Tags.__name__, ApeTags.__name__ = "MP3", "APEv2File"
_Flac.__name__, _TolerantMp4.__name__ = "FLAC", "MP4"


def as_mediafile_type(file: Any) -> Any:  # noqa: ANN401 - mutagen's file of any type
    """Return a file of a type that mediafile supports, with the same tags."""
    if isinstance(file.tags, mutagen.id3.ID3) and type(file).__name__ not in _WITH_ID3:
        return Id3Tags(file.tags)
    if isinstance(file.tags, mutagen.apev2.APEv2):
        return ApeTags(file.tags)
    return file


def read_tolerant_mp4(file: BinaryIO) -> _TolerantMp4 | None:
    """Read an open MP4 file without the atoms that mutagen rejects; None if that is impossible."""
    file.seek(0)
    if file.read(8)[4:] != b"ftyp":
        return None
    file.seek(0)
    try:
        return _TolerantMp4(file)
    except Exception:  # noqa: BLE001 - parsers raise anything on a damaged file
        return None


def read_tolerant_flac(file: BinaryIO) -> _Flac | None:
    """Read an open FLAC file without the blocks that mutagen rejects; None if it is not FLAC."""
    file.seek(0)
    if file.read(4) != b"fLaC":
        return None
    tags: Any = None
    pictures: list[mutagen.flac.Picture] = []
    rejected = 0
    is_last = False
    while not is_last and len(header := file.read(4)) == 4:  # noqa: PLR2004 - a block header
        is_last, block_type = header[0] >= 128, header[0] & 127  # noqa: PLR2004 - RFC 9639, 8.1
        data = file.read(int.from_bytes(header[1:], "big"))
        try:
            if block_type == mutagen.flac.VCFLACDict.code:
                tags = tags or mutagen.flac.VCFLACDict(io.BytesIO(data))
            elif block_type == mutagen.flac.Picture.code:
                pictures.append(mutagen.flac.Picture(data))
        except Exception:  # mutagen raises anything on a damaged block
            _logger.debug("unreadable: block of type %s", block_type, exc_info=True)
            rejected += 1
    return _Flac(tags, pictures, rejected)

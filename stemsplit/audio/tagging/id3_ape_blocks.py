"""Runs in both. Blocks of tags that mutagen reads only in part, or does not look for in a file."""

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
"""mutagen's kinds of file in which mediafile looks for ID3 tags."""


class Id3Tags(mutagen.FileType):
    """ID3 tags of a file that mutagen does not read them of."""

    def __init__(self, tags: Any) -> None:  # noqa: ANN401 - one of mutagen's kinds of tags
        """Hold the tags."""
        self.tags = tags


class ApeTags(Id3Tags):
    """APE tags of a file that mutagen does not read them of."""


class _Flac(Id3Tags):
    """Vorbis comments and pictures of a FLAC file of which mutagen rejects a part."""

    def __init__(self, tags: Any, pictures: list[mutagen.flac.Picture], rejected: int) -> None:  # noqa: ANN401 - likewise
        """Hold tags and pictures."""
        super().__init__(tags)
        self.pictures = pictures
        self.rejected = rejected


class _TolerantMp4Tags(mutagen.mp4.MP4Tags):
    """The atoms that mutagen reads, each by itself."""

    rejected = 0

    def load(self, atoms: Any, fileobj: Any) -> None:  # noqa: ANN401 - mutagen's inner types
        entries = atoms.path(b"moov", b"udta", b"meta", b"ilst")[-1]
        for entry in list(entries.children or ()):
            entries.children = [entry]
            try:
                super().load(atoms, fileobj)
            except Exception:  # whatever a damaged atom makes it raise
                _logger.debug("unreadable: %s", entry.name, exc_info=True)
                self.rejected += 1


class _TolerantMp4(mutagen.mp4.MP4):
    """An MP4 file without the atoms of tags that mutagen rejects."""

    MP4Tags = _TolerantMp4Tags

    @property
    def rejected(self) -> int:
        """The number of atoms that were rejected."""
        return getattr(self.tags, "rejected", 0)


# mediafile goes by the names of mutagen's own classes.
Id3Tags.__name__, ApeTags.__name__ = "MP3", "APEv2File"
_Flac.__name__, _TolerantMp4.__name__ = "FLAC", "MP4"


def held(whole: Any) -> Any:  # noqa: ANN401 - mutagen's kinds of file
    """Return a file of a kind that mediafile knows, with the same tags."""
    if isinstance(whole.tags, mutagen.id3.ID3) and type(whole).__name__ not in _WITH_ID3:
        return Id3Tags(whole.tags)
    if isinstance(whole.tags, mutagen.apev2.APEv2):
        return ApeTags(whole.tags)
    return whole


def tolerant_mp4(file: BinaryIO) -> _TolerantMp4 | None:
    """Open an MP4 file without the atoms that mutagen rejects; None if that cannot be done.

    Args:
        file: open for reading, at any position.
    """
    file.seek(0)
    if file.read(8)[4:] != b"ftyp":
        return None
    file.seek(0)
    try:
        return _TolerantMp4(file)
    except Exception:  # noqa: BLE001 - whatever a damaged file makes a parser raise
        return None


def tolerant_flac(file: BinaryIO) -> _Flac | None:
    """Read a FLAC file without the blocks that mutagen rejects; None if it is no FLAC file.

    Args:
        file: open for reading, at any position.
    """
    file.seek(0)
    if file.read(4) != b"fLaC":
        return None
    tags: Any = None
    pictures: list[mutagen.flac.Picture] = []
    rejected = 0
    is_last = False
    while not is_last and len(header := file.read(4)) == 4:  # noqa: PLR2004 - a header
        is_last, kind = header[0] >= 128, header[0] & 127  # noqa: PLR2004 - RFC 9639, section 8.1
        data = file.read(int.from_bytes(header[1:], "big"))
        try:
            if kind == mutagen.flac.VCFLACDict.code:
                tags = tags or mutagen.flac.VCFLACDict(io.BytesIO(data))
            elif kind == mutagen.flac.Picture.code:
                pictures.append(mutagen.flac.Picture(data))
        except Exception:  # whatever a damaged block makes it raise
            _logger.debug("unreadable: block of type %s", kind, exc_info=True)
            rejected += 1
    return _Flac(tags, pictures, rejected)

"""Runs in both. Finds the names of tags in the bytes of a file, whatever its sizes say. Pure.

A wrong size in a tag makes its parser skip fields without a word. Their names are still there: a
field that is named in the bytes and absent from what was parsed is lost, and that can be said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FIELD_OF_KEY = {
    # ID3v2.3 and 2.4
    "TIT2": "title",
    "TPE1": "artists",
    "TPE2": "albumartists",
    "TALB": "album",
    "TRCK": "track",
    "TPOS": "disc",
    "TDRC": "date",
    "TYER": "date",
    "TCON": "genres",
    "TCOM": "composers",
    "TBPM": "bpm",
    "TKEY": "initial_key",
    "APIC": "images",
    # ID3v2.2
    "TT2": "title",
    "TP1": "artists",
    "TP2": "albumartists",
    "TAL": "album",
    "TRK": "track",
    "TPA": "disc",
    "TYE": "date",
    "TCO": "genres",
    "TCM": "composers",
    "PIC": "images",
    # Vorbis comments and APE
    "TITLE": "title",
    "ARTIST": "artists",
    "ALBUMARTIST": "albumartists",
    "ALBUM ARTIST": "albumartists",
    "ALBUM": "album",
    "TRACKNUMBER": "track",
    "TRACK": "track",
    "DISCNUMBER": "disc",
    "DISC": "disc",
    "DATE": "date",
    "YEAR": "date",
    "GENRE": "genres",
    "COMPOSER": "composers",
    "METADATA_BLOCK_PICTURE": "images",
    "COVER ART (FRONT)": "images",
    # pictures in FLAC
    "IMAGE/PNG": "images",
    "IMAGE/JPEG": "images",
    # MP4
    "\xa9NAM": "title",
    "\xa9ART": "artists",
    "AART": "albumartists",
    "\xa9ALB": "album",
    "TRKN": "track",
    "DISK": "disc",
    "\xa9DAY": "date",
    "\xa9GEN": "genres",
    "GNRE": "genres",
    "\xa9WRT": "composers",
    "TMPO": "bpm",
    "COVR": "images",
}
"""The field of `stemsplit.audio.tagging.fields` that a tag holds, by the tag's key in capitals."""


@dataclass(frozen=True, slots=True)
class _Keys:
    """Keys of one kind of tags, with what surrounds each there and hardly ever by chance.

    Attributes:
        keys: separated by commas.
        after: matches what follows a key.
        before: what precedes it.
        any_case: whether keys are written in small letters, too.
    """

    keys: str
    after: re.Pattern[bytes]
    before: bytes = b""
    any_case: bool = False

    def found(self, data: bytes) -> Iterator[str]:
        """Yield the keys that are in the data."""
        if self.any_case:
            data = data.upper()
        for key in self.keys.split(","):
            sought = self.before + key.encode("latin-1")
            at = data.find(sought)
            while at >= 0 and not self.after.match(data, at + len(sought)):
                at = data.find(sought, at + 1)
            if at >= 0:
                yield key


_ID3 = (
    _Keys(
        "TIT2,TPE1,TPE2,TALB,TRCK,TPOS,TDRC,TCON,TCOM,TBPM,TKEY,APIC",
        re.compile(rb"\0(?!\0\0\0)[\s\S]{5}[\0-\3]"),
    ),
    _Keys("TYER", re.compile(rb"\0[\s\S]{5}[\0-\3](?:\xff\xfe|\xfe\xff)?\0?\d")),
    _Keys(
        "TT2,TP1,TP2,TAL,TRK,TPA,TCO,TCM,PIC",
        re.compile(rb"\0(?!\0\0)[\s\S]{2}[\0\1]"),
    ),
)
_VORBIS = (
    _Keys(
        "TITLE,ARTIST,ALBUMARTIST,ALBUM,TRACKNUMBER,DISCNUMBER,DATE,GENRE,COMPOSER,"
        "METADATA_BLOCK_PICTURE",
        re.compile(rb"="),
        before=b"\0",
        any_case=True,
    ),
    _Keys("image/png,image/jpeg", re.compile(rb"\0\0[\s\S]{18}")),
)
_APE = (
    _Keys(
        "TITLE,ARTIST,ALBUM ARTIST,ALBUM,TRACK,DISC,YEAR,GENRE,COMPOSER,COVER ART (FRONT)",
        re.compile(rb"\0"),
        before=b"\0\0\0",
        any_case=True,
    ),
)
_MP4 = (
    _Keys(
        "\xa9nam,\xa9ART,aART,\xa9alb,trkn,disk,\xa9day,\xa9gen,gnre,\xa9wrt,tmpo,covr",
        re.compile(rb"[\s\S]{4}data"),
    ),
)

_ASF_HEADER = bytes.fromhex("3026b2758e66cf11")
_ASF_CONTENT_DESCRIPTION = bytes.fromhex("3326b2758e66cf11a6d900aa0062ce6c")
_ID3V1_BYTES = 128


def traced_fields(head: bytes, tail: bytes) -> set[str]:
    """Return the fields that tags in these bytes have names of.

    Args:
        head: the file's first bytes; tells the container.
        tail: its last ones; empty if they are among the first.
    """
    kinds: list[_Keys] = []
    if head[4:8] == b"ftyp":
        kinds += _MP4
    elif head[:4] in {b"fLaC", b"OggS"}:
        kinds += _VORBIS
    elif head[:8] != _ASF_HEADER:
        kinds += _ID3
        if b"APETAGEX" in tail or b"APETAGEX" in head:
            kinds += _APE
        if b"fLaC" in head:  # behind an ID3 tag
            kinds += _VORBIS
    return fields_of(key for kind in kinds for data in (head, tail) for key in kind.found(data))


def fields_of(keys: Iterable[str]) -> set[str]:
    """Return the fields that keys of tags stand for; of unknown ones none."""
    found = (FIELD_OF_KEY.get(key.upper().partition(":")[0]) for key in keys)
    return {field for field in found if field}


def has_tag_signature(head: bytes, tail: bytes) -> bool:
    """Tell whether the file says that it has tags: ID3, APE or ASF's description."""
    return (
        head[:3] == b"ID3"
        or has_id3v1(head, tail)
        or b"APETAGEX" in (tail or head)
        or (head[:8] == _ASF_HEADER and _ASF_CONTENT_DESCRIPTION in head)
    )


def has_id3v1(head: bytes, tail: bytes) -> bool:
    """Tell whether the file ends in an ID3v1 tag, and not in an APE tag of the same length."""
    last = (tail or head)[-_ID3V1_BYTES - 3 :]
    return len(last) > _ID3V1_BYTES and last[3:6] == b"TAG" and last[:8] != b"APETAGEX"

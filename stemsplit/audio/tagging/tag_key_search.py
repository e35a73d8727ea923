"""Runs in both. Finds lost tags: keys in the bytes of a file that no parser returned. Pure.

A wrong size in a tag makes its parser skip fields silently, but the keys are still in the file. A
field whose key occurs in the bytes and that was not parsed is reported as lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ASF_HEADER = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
"""First bytes of the ASF header object, with which WMA files start."""

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
    # FLAC pictures
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
"""Field of `stemsplit.audio.tagging.fields` by tag key in upper case."""


@dataclass(frozen=True, slots=True)
class _KeyGroup:
    """Keys of one tag format, with a context that rarely occurs by chance.

    Attributes:
        keys: the keys, separated by commas.
        after: pattern of the bytes after a key.
        before: bytes before a key.
        any_case: whether keys are case-insensitive.
    """

    keys: str
    after: re.Pattern[bytes]
    before: bytes = b""
    any_case: bool = False

    def find(self, data: bytes) -> Iterator[str]:
        if self.any_case:
            data = data.upper()
        for key in self.keys.split(","):
            pattern = self.before + key.encode("latin-1")
            position = data.find(pattern)
            while position >= 0 and not self.after.match(data, position + len(pattern)):
                position = data.find(pattern, position + 1)
            if position >= 0:
                yield key


_ID3 = (
    _KeyGroup(
        "TIT2,TPE1,TPE2,TALB,TRCK,TPOS,TDRC,TCON,TCOM,TBPM,TKEY,APIC",
        re.compile(rb"\0(?!\0\0\0)[\s\S]{5}[\0-\3]"),
    ),
    _KeyGroup("TYER", re.compile(rb"\0[\s\S]{5}[\0-\3](?:\xff\xfe|\xfe\xff)?\0?\d")),
    _KeyGroup("TT2,TP1,TP2,TAL,TRK,TPA,TCO,TCM,PIC", re.compile(rb"\0(?!\0\0)[\s\S]{2}[\0\1]")),
)
_VORBIS = (
    _KeyGroup(
        "TITLE,ARTIST,ALBUMARTIST,ALBUM,TRACKNUMBER,DISCNUMBER,DATE,GENRE,COMPOSER,"
        "METADATA_BLOCK_PICTURE",
        re.compile(rb"="),
        before=b"\0",
        any_case=True,
    ),
    _KeyGroup("image/png,image/jpeg", re.compile(rb"\0\0[\s\S]{18}")),
)
_APE = (
    _KeyGroup(
        "TITLE,ARTIST,ALBUM ARTIST,ALBUM,TRACK,DISC,YEAR,GENRE,COMPOSER,COVER ART (FRONT)",
        re.compile(rb"\0"),
        before=b"\0\0\0",
        any_case=True,
    ),
)
_MP4 = (
    _KeyGroup(
        "\xa9nam,\xa9ART,aART,\xa9alb,trkn,disk,\xa9day,\xa9gen,gnre,\xa9wrt,tmpo,covr",
        re.compile(rb"[\s\S]{4}data"),
    ),
)

_ASF_CONTENT_DESCRIPTION = bytes.fromhex("3326b2758e66cf11a6d900aa0062ce6c")
_ID3V1_BYTES = 128


def find_fields(head: bytes, tail: bytes) -> set[str]:
    """Return the fields whose keys occur in the bytes of a file.

    Args:
        head: first bytes of the file, which identify the container.
        tail: last bytes of the file; empty if `head` contains them.
    """
    groups: list[_KeyGroup] = []
    if head[4:8] == b"ftyp":
        groups += _MP4
    elif head[:4] in {b"fLaC", b"OggS"}:
        groups += _VORBIS
    elif head[:8] != ASF_HEADER:
        groups += _ID3
        if b"APETAGEX" in tail or b"APETAGEX" in head:
            groups += _APE
        if b"fLaC" in head:  # after an ID3 tag
            groups += _VORBIS
    return fields_of(key for group in groups for data in (head, tail) for key in group.find(data))


def fields_of(keys: Iterable[str]) -> set[str]:
    """Return the fields of tag keys; unknown keys are ignored."""
    fields = (FIELD_OF_KEY.get(key.upper().partition(":")[0]) for key in keys)
    return {field for field in fields if field}


def has_tag_signature(head: bytes, tail: bytes) -> bool:
    """Return whether a file has the signature of ID3, APE or ASF tags."""
    return (
        head[:3] == b"ID3"
        or has_id3v1(head, tail)
        or b"APETAGEX" in (tail or head)
        or (head[:8] == ASF_HEADER and _ASF_CONTENT_DESCRIPTION in head)
    )


def has_id3v1(head: bytes, tail: bytes) -> bool:
    """Return whether a file ends with an ID3v1 tag."""
    end = (tail or head)[-_ID3V1_BYTES - 3 :]
    # "TAG" is also part of the signature of an APE tag.
    return len(end) > _ID3V1_BYTES and end[3:6] == b"TAG" and end[:8] != b"APETAGEX"

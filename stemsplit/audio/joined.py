"""Runs in both. Files that are several files, one put behind the other.

Ogg allows that and calls it chaining (RFC 3533, section 4); of MP3 it is what `cat` makes, as radio
recorders do. libsndfile reads the first one and stops.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

_OGG_PAGE_BYTES, _FLAGS_AT, _SEGMENTS_AT = 27, 5, 26
_BEGINS_STREAM = 0x02
_XING_MARKS = (b"Xing", b"Info")
_HAS_FRAMES, _HAS_BYTES = 1, 2
_HEAD_BYTES = 4096
_ID3V2_BYTES = 10
_SLACK_BYTES = 65_536
"""More than tags at the end of an MP3 usually have, covers apart."""


def is_joined(path: Path) -> bool:
    """Tell whether a file is several Ogg or MP3 files in one."""
    with path.open("rb") as file:
        if file.read(4) == b"OggS":
            return _has_second_stream(file)
        return _is_longer_than_it_says(file)


def _has_second_stream(file: BinaryIO) -> bool:
    """Look for a page that begins a stream after one that did not; each page leads to the next."""
    at, is_inside = 0, False
    while True:
        file.seek(at)
        page = file.read(_OGG_PAGE_BYTES)
        if len(page) < _OGG_PAGE_BYTES or not page.startswith(b"OggS"):
            return False
        begins = bool(page[_FLAGS_AT] & _BEGINS_STREAM)
        if begins and is_inside:
            return True
        is_inside = is_inside or not begins
        segments = file.read(page[_SEGMENTS_AT])
        at += _OGG_PAGE_BYTES + len(segments) + sum(segments)


def _is_longer_than_it_says(file: BinaryIO) -> bool:
    """Compare what an MP3's Xing header says of its bytes with what there is."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(_ID3V2_BYTES)
    start = 0
    if head.startswith(b"ID3") and len(head) == _ID3V2_BYTES:
        start = _ID3V2_BYTES + sum(
            byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
        )
    file.seek(start)
    frame = file.read(_HEAD_BYTES)
    if not frame.startswith(b"\xff"):
        return False
    marks = [at for at in map(frame.find, _XING_MARKS) if at >= 0]
    if not marks:
        return False
    at = min(marks) + 4
    flags = int.from_bytes(frame[at : at + 4], "big")
    if not flags & _HAS_BYTES:
        return False
    at += 8 if flags & _HAS_FRAMES else 4
    declared = int.from_bytes(frame[at : at + 4], "big")
    rest = size - start - declared
    if declared == 0 or rest <= _SLACK_BYTES:
        return False
    file.seek(start + declared)
    behind = file.read(_HEAD_BYTES)
    return not behind.startswith((b"TAG", b"APETAGEX")) and any(
        mark in behind for mark in (*_XING_MARKS, b"ID3")
    )

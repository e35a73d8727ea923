"""Runs in both. What an MP3 file says, or does not say, of its own length.

An MP3 declares its length only in a Xing, Info or VBRI header, which its encoder may put into the
first frame. Without one libsndfile estimates the length from the bit rate of the first frames, and
reads no further than that, which can be far from the end; and where several files were put behind
one another, as radio recorders do, it reads the first. Such files are read by another library.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

_ID3V2_HEADER_BYTES = 10
_FIRST_FRAME_BYTES = 2048
"""More than the longest frame of layer III, 1,441 bytes (ISO/IEC 11172-3)."""

_XING_MARKS = (b"Xing", b"Info")
_HAS_FRAMES, _HAS_BYTES = 1, 2
_SLACK_BYTES = 65_536
"""More than tags at the end of a file usually have, covers apart."""
_BEHIND_BYTES = 4096
"""So near behind the end of one file the next one begins."""


def declares_length(path: Path) -> bool:
    """Tell whether the first frame of an MP3 file holds a Xing, Info or VBRI header."""
    with path.open("rb") as file:
        file.seek(_start_of_audio(file))
        first_frame = file.read(_FIRST_FRAME_BYTES)
    return any(mark in first_frame for mark in (*_XING_MARKS, b"VBRI"))


def is_longer_than_it_says(path: Path) -> bool:
    """Tell whether another file follows where a Xing header says that this one ends."""
    with path.open("rb") as file:
        start = _start_of_audio(file)
        declared = _declared_bytes(file, start)
        size = file.seek(0, os.SEEK_END)
        if declared == 0 or size - start - declared <= _SLACK_BYTES:
            return False
        file.seek(start + declared)
        behind = file.read(_BEHIND_BYTES)
    is_tag = behind.startswith((b"TAG", b"APETAGEX"))
    return not is_tag and any(mark in behind for mark in (*_XING_MARKS, b"ID3"))


def _start_of_audio(file: BinaryIO) -> int:
    """Give the offset of the first frame, behind an ID3v2 tag."""
    head = file.read(_ID3V2_HEADER_BYTES)
    if not head.startswith(b"ID3") or len(head) < _ID3V2_HEADER_BYTES:
        return 0
    # The size of an ID3v2 tag has seven bits a byte (id3.org, ID3v2.4, section 6.2).
    size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    return _ID3V2_HEADER_BYTES + size


def _declared_bytes(file: BinaryIO, start: int) -> int:
    """Give the size of all frames by the Xing header of the first one; 0 where it does not say."""
    file.seek(start)
    frame = file.read(_FIRST_FRAME_BYTES)
    marks = [at for at in map(frame.find, _XING_MARKS) if at >= 0]
    if not frame.startswith(b"\xff") or not marks:
        return 0
    at = min(marks) + 4
    flags = int.from_bytes(frame[at : at + 4], "big")
    if not flags & _HAS_BYTES:
        return 0
    at += 8 if flags & _HAS_FRAMES else 4
    return int.from_bytes(frame[at : at + 4], "big")

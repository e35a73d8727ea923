"""Runs in both. What an MP3 file says, or does not say, of its own length.

An MP3 declares its length only in a Xing, Info or VBRI header, which its encoder may put into the
first frame. Without one libsndfile estimates the length from the bit rate of the first frames, and
reads no further than that. At a constant bit rate the estimate is right; at a variable one it can
be far off in either direction.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ID3V2_HEADER_BYTES = 10
_ID3V1_BYTES = 128
_APE_FOOTER_BYTES = 32
_FIRST_FRAME_BYTES = 2048
"""More than the longest frame of layer III, 1,441 bytes (ISO/IEC 11172-3)."""


def declares_length(path: Path) -> bool:
    """Tell whether the first frame of an MP3 file holds a Xing, Info or VBRI header."""
    with path.open("rb") as file:
        head = file.read(_ID3V2_HEADER_BYTES)
        if head.startswith(b"ID3"):
            # The size of an ID3v2 tag has seven bits a byte (id3.org, ID3v2.4, section 6.2).
            size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
            file.seek(_ID3V2_HEADER_BYTES + size)
        else:
            file.seek(0)
        first_frame = file.read(_FIRST_FRAME_BYTES)
    return any(mark in first_frame for mark in (b"Xing", b"Info", b"VBRI"))


def end_of_audio(path: Path) -> int:
    """Give the offset in bytes at which the tags at the end of an MP3 file begin, or its size."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        if _read_at(file.fileno(), 3, end - _ID3V1_BYTES) == b"TAG":
            end -= _ID3V1_BYTES
        footer = _read_at(file.fileno(), _APE_FOOTER_BYTES, end - _APE_FOOTER_BYTES)
        if footer.startswith(b"APETAGEX"):
            # The size counts items and footer; a header of the footer's size stands before them.
            end -= int.from_bytes(footer[12:16], "little") + _APE_FOOTER_BYTES
    return max(end, 0)


def _read_at(descriptor: int, count: int, offset: int) -> bytes:
    if offset < 0:
        return b""
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, count)

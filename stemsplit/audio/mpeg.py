"""Runs in both. What an MP3 file says, or does not say, of its own length.

An MP3 declares its length only in a Xing, Info or VBRI header, which its encoder may put into the
first frame. Without one libsndfile estimates the length from the bit rate of the first frames, and
reads no further than that, which can be far from the end; such a file is read by another library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ID3V2_HEADER_BYTES = 10
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

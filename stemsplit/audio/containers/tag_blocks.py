"""Runs in the child. Finds where tags start and end in streams of frames.

Layouts: id3.org (ID3v1, ID3v2.4), the APEv2 and Lyrics3 specifications.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemsplit.audio.containers.file_bytes import FileBytes

_ID3V1_BYTES = 128
_ID3V2_HEADER_BYTES = 10
_APE_HEADER_BYTES = 32
_MAX_APE_BYTES = 1 << 20
_MAX_LYRICS_BYTES = 1 << 20


def tag_end(data: FileBytes, start: int) -> int | None:
    """Return the end of the tag that starts at `start`; None if there is no tag."""
    head = data[start : start + 32]
    if head[:3] == b"ID3" and len(head) > _ID3V2_HEADER_BYTES:
        # Each byte holds seven bits of the size (ID3v2.4, section 6.2).
        size = sum(
            (byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
        )
        has_footer = head[5] >> 4 & 1
        return start + _ID3V2_HEADER_BYTES * (1 + has_footer) + size
    if head[:3] == b"TAG":
        return start + _ID3V1_BYTES
    if head[:8] == b"APETAGEX" and len(head) == _APE_HEADER_BYTES:
        size, is_header = int.from_bytes(head[12:16], "little"), bool(head[23] & 0x20)
        return start + _APE_HEADER_BYTES + (size if is_header else 0)
    if head[:11] == b"LYRICSBEGIN":
        ends = [
            data.find(end_id, start, start + _MAX_LYRICS_BYTES)
            for end_id in (b"LYRICS200", b"LYRICSEND")
        ]
        return max(ends) + 9 if max(ends) >= 0 else None
    return None


def skip_tags(data: FileBytes, at: int) -> int:
    """Return the end of the tags that start at `at`; `at` if there are none."""
    while (end := tag_end(data, at)) is not None and end > at:
        at = end
    return at


def tag_start(data: FileBytes, end: int) -> int | None:
    """Return the start of the ID3v1 or APE tag that ends at `end`; None if there is no tag."""
    base = max(end - _MAX_APE_BYTES, 0)
    for start in (end - _ID3V1_BYTES, base + data[base:end].rfind(b"APETAGEX")):
        if 0 <= start < end and tag_end(data, start) == end:
            return start
    return None

"""Runs in the child. Reads the boxes of MP4, M4A and MOV files (ISO/IEC 14496-12, section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.audio.containers.file_bytes import FileBytes

_CONTAINER_BOXES = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})


def boxes(data: FileBytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Read the boxes between two offsets, up to the first incomplete one.

    Yields:
        the type of each box, the offset of its content, and its end.
    """
    at = start
    while at + 8 <= end:
        size, box_type, header = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        box_end = end if size == 0 else at + size
        if box_end < at + header or box_end > end:
            return
        yield box_type, at + header, box_end
        at = box_end


def lacks_index(data: FileBytes) -> bool:
    """Return whether an MP4 file has no `moov` box, without which it cannot be decoded."""
    is_mp4 = data[4:8] == b"ftyp"
    return is_mp4 and all(box_type != b"moov" for box_type, _, _ in boxes(data, 0, len(data)))


def sample_entries(data: FileBytes, start: int, end: int, depth: int = 0) -> Iterator[bytes]:
    """Yield the types of the sample entries of all tracks."""
    for box_type, content, box_end in boxes(data, start, end):
        if box_type in _CONTAINER_BOXES and depth < len(_CONTAINER_BOXES):
            yield from sample_entries(data, content, box_end, depth + 1)
        elif box_type == b"stsd":  # a version and a count precede its entries
            yield from (entry for entry, _, _ in boxes(data, content + 8, box_end))

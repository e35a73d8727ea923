"""Runs in both. The boxes of MP4, M4A and MOV files (ISO/IEC 14496-12, section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.audio.containers.byte_view import FileBytes

_FOLDERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})


def boxes(data: FileBytes, first: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Visit the boxes between two offsets, up to the first that is not whole.

    Yields:
        the name of each, its first byte behind the header, and its end.
    """
    at = first
    while at + 8 <= end:
        size, name, header = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        box_end = end if size == 0 else at + size
        if box_end < at + header or box_end > end:
            return
        yield name, at + header, box_end
        at = box_end


def lacks_index(data: FileBytes) -> bool:
    """Tell whether a file has no `moov` box, without which nothing in it can be found."""
    is_mp4 = data[4:8] == b"ftyp"
    return is_mp4 and all(name != b"moov" for name, _, _ in boxes(data, 0, len(data)))


def sample_entries(data: FileBytes, first: int, end: int, depth: int = 0) -> Iterator[bytes]:
    """Visit the names of the sample entries of all tracks."""
    for name, inside, box_end in boxes(data, first, end):
        if name in _FOLDERS and depth < len(_FOLDERS):
            yield from sample_entries(data, inside, box_end, depth + 1)
        elif name == b"stsd":  # with a version and a count before its entries
            yield from (entry for entry, _, _ in boxes(data, inside + 8, box_end))

"""Runs in both. A file as one long string of bytes, of which little is in memory.

Unlike a memory map it takes no memory that counts as the process's own, and a disk that fails
raises an error and not a signal.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator
    from io import BytesIO, RawIOBase

_WINDOW_BYTES = 1 << 18
_OVERLAP_BYTES = 64
"""More than anything has that is searched for."""


class FileBytes:
    """A file that can be sliced and searched like `bytes`.

    Args:
        file: open for reading; closed by whoever has opened it.
    """

    def __init__(self, file: RawIOBase | BytesIO) -> None:
        """Find out its size."""
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._window = b""
        self._base = 0

    def __len__(self) -> int:
        """Return the size in bytes."""
        return self._size

    def __getitem__(self, key: slice) -> bytes:
        """Return the bytes of a slice with a start; fewer at the end of the file."""
        first = key.start
        end = self._size if key.stop is None else min(key.stop, self._size)
        if first >= end:
            return b""
        inside = first - self._base
        if inside < 0 or end - self._base > len(self._window):
            self._file.seek(first)
            self._window = self._file.read(max(end - first, _WINDOW_BYTES)) or b""
            self._base, inside = first, 0
        return self._window[inside : end - self._base]

    def find(self, wanted: bytes, first: int = 0, end: int | None = None) -> int:
        """Return the first offset of `wanted` in a range; -1 if it is not there."""
        for base, block in self._blocks(first, end):
            found = block.find(wanted)
            if found >= 0:
                return base + found
        return -1

    def finditer(
        self, pattern: re.Pattern[bytes], first: int = 0, end: int | None = None
    ) -> Iterator[tuple[int, bytes]]:
        """Find a pattern of a few bytes; yields the offset and the bytes of each match."""
        behind = first
        for base, block in self._blocks(first, end):
            for match in pattern.finditer(block):
                if base + match.start() >= behind:
                    behind = base + match.end()
                    yield base + match.start(), match.group()

    def is_blank(self, first: int, end: int | None = None) -> bool:
        """Tell whether all bytes of a range are zero."""
        return not any(block.strip(b"\0") for _, block in self._blocks(first, end))

    def _blocks(self, first: int, end: int | None) -> Iterator[tuple[int, bytes]]:
        """Read a range in blocks that overlap, with the offset of each."""
        end = self._size if end is None else min(end, self._size)
        while first < end:
            stop = min(first + _WINDOW_BYTES, end)
            yield first, self[first:stop]
            if stop == end:
                return
            first = stop - _OVERLAP_BYTES

"""Runs in the child. Slices and searches a file like `bytes`, with little of it in memory.

Unlike a memory map, it does not add to the memory charged to the process, and a failing disk raises
an exception instead of a signal.
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
"""Overlap of consecutive blocks; more than the longest pattern that is searched for."""


class FileBytes:
    """A file that can be sliced and searched like `bytes`.

    Args:
        file: open for reading; the caller closes it.
    """

    def __init__(self, file: RawIOBase | BytesIO) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._window = b""
        self._window_start = 0

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, key: slice) -> bytes:
        """Return the bytes of a slice, which must have a start; fewer at the end of the file."""
        start = key.start
        end = self._size if key.stop is None else min(key.stop, self._size)
        if start >= end:
            return b""
        offset = start - self._window_start
        if offset < 0 or end - self._window_start > len(self._window):
            self._file.seek(start)
            self._window = self._file.read(max(end - start, _WINDOW_BYTES)) or b""
            self._window_start, offset = start, 0
        return self._window[offset : end - self._window_start]

    def find(self, pattern: bytes, start: int = 0, end: int | None = None) -> int:
        """Return the offset of the first `pattern` in a range, or -1."""
        for block_start, block in self._blocks(start, end):
            offset = block.find(pattern)
            if offset >= 0:
                return block_start + offset
        return -1

    def finditer(
        self, pattern: re.Pattern[bytes], start: int = 0, end: int | None = None
    ) -> Iterator[tuple[int, bytes]]:
        """Search a range for a pattern of a few bytes.

        Yields:
            the offset and the bytes of each match.
        """
        last_end = start
        for block_start, block in self._blocks(start, end):
            for match in pattern.finditer(block):
                if block_start + match.start() >= last_end:
                    last_end = block_start + match.end()
                    yield block_start + match.start(), match.group()

    def is_zero(self, start: int, end: int | None = None) -> bool:
        """Return whether all bytes of a range are zero."""
        return not any(block.strip(b"\0") for _, block in self._blocks(start, end))

    def _blocks(self, start: int, end: int | None) -> Iterator[tuple[int, bytes]]:
        """Yield the offset and the bytes of overlapping blocks that cover a range."""
        end = self._size if end is None else min(end, self._size)
        while start < end:
            stop = min(start + _WINDOW_BYTES, end)
            yield start, self[start:stop]
            if stop == end:
                return
            start = stop - _OVERLAP_BYTES

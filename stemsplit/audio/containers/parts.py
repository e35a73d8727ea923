"""Runs in the child. Parts: the sound files that a file consists of.

Most files are a single, intact sound file. Others are several files joined end to end, have lost
bytes, or have a header that does not match the data. A *part* is one sound file that decodes from
start to end: byte ranges of the file, in order, with corrected bytes in place of a wrong header.
"""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Buffer


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes of a file from offset `start` up to, but not including, `end`."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of the sound files that a file consists of.

    Attributes:
        pieces: its bytes: ranges of the file, and corrected bytes. None means the whole file.
        fallback_pieces: the same samples with a rewritten header, for a library that fails on
            other chunks of the file; or None.
        counted_seconds: duration of the frames that were counted; None if they were not. Samples
            decoded beyond it are encoder padding.
        lost_seconds: duration that is missing between the previous part and this one.
        end_timestamp: end of the part in seconds on its stream's clock; None if unknown.
        is_start_missing: whether data is missing before a part that starts a file. A short gap is
            damage; a long one means that a broadcast was recorded from the middle.
        declared_seconds: declared duration of the file that starts with this part; None if the
            header declares none.
        tolerance_seconds: how much `declared_seconds` may exceed the real duration.
        can_use_libsndfile: whether libsndfile reads all of it; otherwise FFmpeg does.
        demuxer: FFmpeg's name for the container; empty if FFmpeg detects it.
        is_cut_off: whether an unknown amount of its end is missing.
        fallback_part: what to read instead if this part cannot be opened.
        is_file_start: whether it starts a file; otherwise it continues one after damage.
    """

    pieces: tuple[ByteRange | bytes, ...] | None = None
    fallback_pieces: tuple[ByteRange | bytes, ...] | None = None
    counted_seconds: Fraction | None = None
    lost_seconds: Fraction = Fraction()
    end_timestamp: Fraction | None = None
    is_start_missing: bool = False
    declared_seconds: float | None = None
    tolerance_seconds: float = 0.0
    can_use_libsndfile: bool = True
    demuxer: str = ""
    is_cut_off: bool = False
    fallback_part: Part | None = None
    is_file_start: bool = True

    def open(self, path: Path) -> io.RawIOBase:
        """Open the part of the file at `path` as a file of its own, for reading."""
        if self.pieces is None:
            return path.open("rb", buffering=0)
        return PartFile(path, self.pieces)


class PartFile(io.RawIOBase):
    """A part as a seekable binary file.

    Args:
        path: the file that the byte ranges refer to.
        pieces: see `Part`.
    """

    def __init__(self, path: Path, pieces: tuple[ByteRange | bytes, ...]) -> None:
        self._pieces = [piece for piece in pieces if len(piece)]
        self._ends = list(accumulate(map(len, self._pieces)))
        self._position = 0
        self._file = path.open("rb", buffering=0)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Set the position; see `io.IOBase.seek`."""
        size = self._ends[-1] if self._ends else 0
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: size}[whence]
        self._position = max(origin + offset, 0)
        return self._position

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill `buffer`, except at the end: decoders take a short read for the end of the file."""
        target = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(target):
            count = self._read_piece(target[filled:])
            if not count:
                break
            filled += count
        return filled

    def _read_piece(self, target: memoryview) -> int:
        index = bisect_right(self._ends, self._position)
        if index == len(self._pieces):
            return 0
        piece = self._pieces[index]
        offset = self._position - (self._ends[index - 1] if index else 0)
        count = min(len(target), len(piece) - offset)
        if isinstance(piece, bytes):
            target[:count] = piece[offset : offset + count]
        else:
            self._file.seek(piece.start + offset)
            count = self._file.readinto(target[:count]) or 0
        self._position += count
        return count

    def close(self) -> None:
        """Close the underlying file too."""
        self._file.close()
        super().close()

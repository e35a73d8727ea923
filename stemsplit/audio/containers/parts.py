"""Runs in both. The sound files that a file consists of, and their bytes as a file of their own.

Most files are one sound file, whole. Others are several that were joined end to end, lost some of
their bytes, or have a header that does not fit what follows it. A *part* is one sound file that can
be decoded from its beginning to its end: ranges of bytes of the file, in order, with corrected
bytes in the place of a wrong header.
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
class Range:
    """Bytes `first` up to, not including, `end` of the file."""

    first: int
    end: int

    def __len__(self) -> int:
        """Return the number of bytes."""
        return self.end - self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One sound file of those that a file consists of.

    Attributes:
        pieces: its bytes: ranges of the file, and corrected bytes. None for the whole file.
        spare: other bytes, for a library that stumbles over what stands beside the sound.
        seconds: how long it is by its bytes; None where they do not say. What decodes to more is
            an encoder's padding.
        lost_seconds: how much is missing between the part before and this one.
        ends_at: where its end belongs, in seconds of its stream's own clock; None where it does
            not say.
        follows_loss: whether something is missing before a part that begins a file: a little is
            damage, much is a broadcast that was recorded.
        declared_seconds: how long the header says that the file is which begins with this part;
            None where it does not say.
        tolerated_seconds: by how much `declared_seconds` may be more than there is.
        is_for_libsndfile: whether libsndfile reads all of it; FFmpeg does otherwise.
        demuxer: FFmpeg's name of the container; empty where FFmpeg recognises it.
        is_cut_off: whether its end is missing, although there is no telling how much.
        otherwise: what it is instead, where it cannot be opened as this.
        begins_file: whether it is the beginning of a file; else it goes on behind damage.
    """

    pieces: tuple[Range | bytes, ...] | None = None
    spare: tuple[Range | bytes, ...] | None = None
    seconds: Fraction | None = None
    lost_seconds: Fraction = Fraction()
    ends_at: Fraction | None = None
    follows_loss: bool = False
    declared_seconds: float | None = None
    tolerated_seconds: float = 0.0
    is_for_libsndfile: bool = True
    demuxer: str = ""
    is_cut_off: bool = False
    otherwise: Part | None = None
    begins_file: bool = True

    def open(self, path: Path) -> io.RawIOBase:
        """Open the part as a file of its own, for reading."""
        if self.pieces is None:
            return path.open("rb", buffering=0)
        return PartFile(path, self.pieces)


class PartFile(io.RawIOBase):
    """A part as a seekable binary file.

    Args:
        path: the file that ranges are of.
        pieces: see `Part`.
    """

    def __init__(self, path: Path, pieces: tuple[Range | bytes, ...]) -> None:
        """Open the file below."""
        self._pieces = [piece for piece in pieces if len(piece)]
        self._ends = list(accumulate(map(len, self._pieces)))
        self._at = 0
        self._file = path.open("rb", buffering=0)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position; see `io.IOBase.seek`."""
        size = self._ends[-1] if self._ends else 0
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill `buffer`, fewer bytes only at the end: decoders take a short read for the end."""
        target = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(target):
            count = self._read_piece(target[filled:])
            if not count:
                break
            filled += count
        return filled

    def _read_piece(self, target: memoryview) -> int:
        number = bisect_right(self._ends, self._at)
        if number == len(self._pieces):
            return 0
        piece = self._pieces[number]
        inside = self._at - (self._ends[number - 1] if number else 0)
        count = min(len(target), len(piece) - inside)
        if isinstance(piece, bytes):
            target[:count] = piece[inside : inside + count]
        else:
            self._file.seek(piece.first + inside)
            count = self._file.readinto(target[:count]) or 0
        self._at += count
        return count

    def close(self) -> None:
        """Close the file below as well."""
        self._file.close()
        super().close()

"""Runs in both. Files of chunks, as WAV and AIFF are, and where the samples in them really end.

The header declares the size of the samples before they are written. A recorder that crashes leaves
0, a size of more than 4 GiB wraps, a copy that breaks off leaves too much. So that size is a hint:
samples end where other chunks lead to the end of the file, or at its end.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.audio.containers.parts import Range

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import RawIOBase

_LEAST_SECONDS = 0.05
"""Bytes behind the samples that would make a shorter sound are left out."""

_TAIL_BYTES = 16 << 20
"""Chunks behind samples of unknown size are searched for in this much of the end of the file."""

_NOISE_BYTES = 1 << 16
_NOISE_BITS = 7.9
"""The entropy of a byte from which on bytes are noise: 7.99 of compressed files, less than 7.8 of
samples of 24 bits."""

_HEAD_BYTES = 24
_MOST_CHUNKS = 10_000
_NAME = re.compile(rb"(?=[A-Za-z(][A-Za-z0-9 _()\xa9-]{2}[A-Za-z0-9 _()])")
"""Wherever a name of four characters may begin, within another one too."""

_BEHIND_SAMPLES = (
    *(b"LIST", b"list", b"bext", b"iXML", b"cue ", b"smpl", b"inst", b"fact", b"PEAK", b"JUNK"),
    *(b"junk", b"PAD ", b"FLLR", b"cart", b"acid", b"DISP", b"plst", b"axml", b"_PMX", b"afsp"),
    *(b"id3 ", b"ID3 ", b"LGWV", b"NAME", b"AUTH", b"ANNO", b"(c) ", b"MARK", b"INST", b"COMT"),
    *(b"APPL", b"MIDI", b"SAXL", b"TAG", b"ID3", b"APETAGEX"),
)
"""Names of chunks and tags that end samples whatever size they declare for themselves."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk: its name, its first byte behind its header, and the size that it declares."""

    name: bytes
    first: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a family of containers writes its chunks.

    Attributes:
        size: of a chunk's size field, in the words of `struct`.
        name_bytes: of a chunk's name; Wave64 has GUIDs, whose first four bytes are the name.
        align: chunks begin at multiples of this.
        includes_header: whether the size of a chunk is that of its header, too.
        files: how a file of this family begins, so that joined files are told apart.
    """

    size: str
    name_bytes: int = 4
    align: int = 2
    includes_header: bool = False
    files: tuple[bytes, ...] = ()

    @property
    def header_bytes(self) -> int:
        """The bytes of a chunk's name and size."""
        return self.name_bytes + struct.calcsize(self.size)

    def chunk(self, head: bytes, at: int) -> Chunk | None:
        """Read the header of a chunk at `at`; None if `head` is none."""
        if len(head) < self.header_bytes or not _NAME.match(head):
            return None
        (size,) = struct.unpack_from(self.size, head, self.name_bytes)
        size -= self.header_bytes if self.includes_header else 0
        # A Core Audio file may have samples of the size -1, which stands for "unknown".
        is_possible = size >= 0 or head.startswith(b"data")
        return Chunk(head[:4], at + self.header_bytes, size) if is_possible else None

    def behind(self, chunk: Chunk) -> int:
        """Return where the next chunk begins."""
        return -(-(chunk.first + chunk.size) // self.align) * self.align


RIFF = Layout(size="<I", files=(b"RIFF", b"RF64", b"BW64"))
RIFX = Layout(size=">I", files=(b"RIFX",))
AIFF = Layout(size=">I", files=(b"FORM",))
WAVE64 = Layout(size="<q", name_bytes=16, align=8, includes_header=True)
CAF = Layout(size=">q", align=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The samples of a file.

    Attributes:
        there: their bytes.
        declared: their size by the header, in bytes; None where it does not say.
        next_file: where another file begins that was joined to this one; the end of the file if
            none does.
    """

    there: Range
    declared: int | None
    next_file: int

    @property
    def are_as_declared(self) -> bool:
        """Whether the header is right."""
        return len(self.there) == self.declared


class Chunks:
    """The chunks of an open file.

    Args:
        file: open for reading.
        size: of the file, in bytes.
        layout: of its chunks.
    """

    def __init__(self, file: RawIOBase, size: int, layout: Layout) -> None:
        """Read nothing yet."""
        self._file, self.size, self._layout = file, size, layout

    def read(self, at: int, count: int) -> bytes:
        """Read `count` bytes at `at`, fewer at the end of the file."""
        self._file.seek(at)
        return self._file.read(count) or b""

    def walk(self, at: int) -> Iterator[Chunk]:
        """Walk from `at`; some writers leave out the byte that makes a size even, or add one."""
        steps = (0, -1, 1) if self._layout.align == 2 else (0,)  # noqa: PLR2004 - bytes
        for _ in range(_MOST_CHUNKS):
            tries = (
                self._layout.chunk(self.read(at + step, self._layout.header_bytes), at + step)
                for step in steps
            )
            found = next((chunk for chunk in tries if chunk is not None), None)
            if found is None:
                return
            yield found
            at = self._layout.behind(found)

    def samples(self, first: int, declared: int | None, bytes_a_second: float) -> Samples:
        """Find the end of the samples that begin at `first`.

        Args:
            first: their first byte.
            declared: their size by the header, in bytes; None where it says that it is unknown.
            bytes_a_second: of the samples; 0 where that is not known.
        """
        rest = self.size - first
        if declared is not None and declared > rest:
            there = Range(first, self._tail(first))
            return Samples(there=there, declared=declared, next_file=self.size)
        if declared is not None:
            end = first + declared
            behind = end + declared % 2 * (self._layout.align == 2)  # noqa: PLR2004 - bytes
            has_samples = declared > 0
            next_file = self._next_file(behind, has_samples=has_samples)
            if next_file is None and behind != end:
                next_file = self._next_file(end, has_samples=has_samples)
            is_short = rest - declared < _LEAST_SECONDS * bytes_a_second
            if next_file is None and (is_short or (declared and self.is_noise(end))):
                next_file = self.size
            if next_file is not None:
                return Samples(there=Range(first, end), declared=declared, next_file=next_file)
        return Samples(there=Range(first, self._tail(first)), declared=None, next_file=self.size)

    def _next_file(self, at: int, *, has_samples: bool) -> int | None:
        """Follow what stands behind samples: chunks, tags or zeros, to the end or another file.

        Args:
            at: behind the samples.
            has_samples: whether there are any: zeros behind none are silence that was recorded.

        Returns:
            where that file begins, or the end of this one; None if it looks like more samples.
        """
        for _ in range(_MOST_CHUNKS):
            head = self.read(at, _HEAD_BYTES)
            if len(head) < self._layout.header_bytes or head.startswith(_BEHIND_SAMPLES):
                return self.size
            if head[:4] in self._layout.files:
                return at
            if not any(head):
                return self.size if has_samples and self._is_blank(at) else None
            chunk = self._layout.chunk(head, at)
            if chunk is None or chunk.first + chunk.size > self.size:
                return None
            at = self._layout.behind(chunk)
        return None

    def is_noise(self, at: int) -> bool:
        """Tell whether bytes are spread as evenly as those of compressed files; samples are not."""
        data = self.read(at, _NOISE_BYTES)
        shares = [data.count(byte) / len(data) for byte in set(data)] if data else [1.0]
        return -sum(share * math.log2(share) for share in shares) > _NOISE_BITS

    def _is_blank(self, at: int) -> bool:
        """Tell whether zeros fill the file from here on."""
        while block := self.read(at, 1 << 20):
            if any(block):
                return False
            at += len(block)
        return True

    def _tail(self, first: int) -> int:
        """Find the first of the chunks that lead to the end of the file; its end if none do."""
        base = max(first, self.size - _TAIL_BYTES)
        data = self.read(base, self.size - base)
        leading = {self.size}
        for match in reversed(list(_NAME.finditer(data))):
            at = match.start()
            chunk = self._layout.chunk(data[at : at + _HEAD_BYTES], base + at)
            if chunk is not None and not leading.isdisjoint(
                {chunk.first + chunk.size, self._layout.behind(chunk)}
            ):
                leading.add(base + at)
        return min(leading)

"""Runs in the child. Reads the chunks of WAV, AIFF and similar files, and finds where samples end.

The header declares the size of the samples before they are written. A crashed recorder leaves 0, a
size beyond 4 GiB wraps, and a truncated copy declares too much. That size is therefore a hint:
samples end where a sequence of chunks leads to the end of the file, or at the end of the file.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.audio.containers.parts import ByteRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.audio.containers.file_bytes import FileBytes

_MIN_TRAILING_SECONDS = 0.05
"""Bytes after the declared samples that would last less than this are ignored."""

_TAIL_BYTES = 16 << 20
"""Chunks after samples of unknown size are searched for in this many bytes at the end of a file."""

_ENTROPY_BYTES = 1 << 16
_COMPRESSED_BITS = 7.9
"""Entropy in bits per byte above which data counts as compressed: compressed files have 7.99,
24-bit samples less than 7.8."""

_HEAD_BYTES = 24
_MAX_CHUNKS = 10_000
_CHUNK_ID = re.compile(rb"(?=[A-Za-z(][A-Za-z0-9 _()\xa9-]{2}[A-Za-z0-9 _()])")
"""Matches every position at which a chunk ID may start, including those inside another one."""

_FOLLOWING_IDS = (
    *(b"LIST", b"list", b"bext", b"iXML", b"cue ", b"smpl", b"inst", b"fact", b"PEAK", b"JUNK"),
    *(b"junk", b"PAD ", b"FLLR", b"cart", b"acid", b"DISP", b"plst", b"axml", b"_PMX", b"afsp"),
    *(b"id3 ", b"ID3 ", b"LGWV", b"NAME", b"AUTH", b"ANNO", b"(c) ", b"MARK", b"INST", b"COMT"),
    *(b"APPL", b"MIDI", b"SAXL", b"TAG", b"ID3", b"APETAGEX"),
)
"""IDs of chunks and tags that end the samples, whatever size they declare."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk: its ID, the offset of its first byte after the header, and its declared size."""

    id: bytes
    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFormat:
    """How a family of containers encodes its chunks.

    Attributes:
        size_format: format of the size field, for `struct`.
        id_bytes: length of a chunk ID; Wave64 has GUIDs, whose first four bytes are used as the ID.
        alignment: chunks start at multiples of this many bytes.
        size_includes_header: whether the size of a chunk includes its header.
        file_ids: IDs at the start of a file of this family, to recognise joined files.
    """

    size_format: str
    id_bytes: int = 4
    alignment: int = 2
    size_includes_header: bool = False
    file_ids: tuple[bytes, ...] = ()

    @property
    def header_bytes(self) -> int:
        """Length of a chunk's ID and size."""
        return self.id_bytes + struct.calcsize(self.size_format)

    @property
    def pads_odd_sizes(self) -> bool:
        """Whether a padding byte follows a chunk of an odd size."""
        return self.alignment == 2  # noqa: PLR2004 - bytes

    def parse(self, head: bytes, at: int) -> Chunk | None:
        """Parse the chunk header `head`, which is at offset `at`; None if it is not one."""
        if len(head) < self.header_bytes or not _CHUNK_ID.match(head):
            return None
        (size,) = struct.unpack_from(self.size_format, head, self.id_bytes)
        size -= self.header_bytes if self.size_includes_header else 0
        # In Core Audio files, the size of the samples may be -1, which means "unknown".
        is_valid = size >= 0 or head.startswith(b"data")
        return Chunk(head[:4], at + self.header_bytes, size) if is_valid else None

    def next_start(self, chunk: Chunk) -> int:
        """Return the offset at which the next chunk starts."""
        return -(-(chunk.start + chunk.size) // self.alignment) * self.alignment


RIFF = ChunkFormat(size_format="<I", file_ids=(b"RIFF", b"RF64", b"BW64"))
RIFX = ChunkFormat(size_format=">I", file_ids=(b"RIFX",))
AIFF = ChunkFormat(size_format=">I", file_ids=(b"FORM",))
WAVE64 = ChunkFormat(size_format="<q", id_bytes=16, alignment=8, size_includes_header=True)
CAF = ChunkFormat(size_format=">q", alignment=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleData:
    """The samples of a file.

    Attributes:
        present: the bytes of the samples that the file holds.
        declared: size of the samples in bytes by the header; None if unknown.
        next_file: offset of another file joined to this one, or else the end of the file.
    """

    present: ByteRange
    declared: int | None
    next_file: int

    @property
    def is_as_declared(self) -> bool:
        """Whether the header declares the right size."""
        return len(self.present) == self.declared


class ChunkReader:
    """Reads the chunks of a file that encodes them in one format."""

    def __init__(self, data: FileBytes, chunk_format: ChunkFormat) -> None:
        self._data, self.size, self._format = data, len(data), chunk_format

    def read(self, at: int, count: int) -> bytes:
        """Read `count` bytes at `at`; fewer at the end of the file."""
        return self._data[at : at + count]

    def walk(self, at: int) -> Iterator[Chunk]:
        """Yield the chunks from `at` on.

        Some writers omit the padding byte after an odd size, or add one after an even size.
        """
        steps = (0, -1, 1) if self._format.pads_odd_sizes else (0,)
        for _ in range(_MAX_CHUNKS):
            candidates = (
                self._format.parse(self.read(at + step, self._format.header_bytes), at + step)
                for step in steps
            )
            found = next((chunk for chunk in candidates if chunk is not None), None)
            if found is None:
                return
            yield found
            at = self._format.next_start(found)

    def sample_data(self, start: int, declared: int | None, bytes_per_second: float) -> SampleData:
        """Find the end of the samples.

        Args:
            start: offset of the first sample.
            declared: size of the samples in bytes by the header; None if the header says unknown.
            bytes_per_second: of the samples; 0 if unknown.
        """
        rest = self.size - start
        if declared is not None and declared > rest:
            present = ByteRange(start, self._find_samples_end(start))
            return SampleData(present=present, declared=declared, next_file=self.size)
        if declared is not None:
            end = start + declared
            padded_end = end + declared % 2 * self._format.pads_odd_sizes
            has_samples = declared > 0
            next_file = self._find_next_file(padded_end, has_samples=has_samples)
            if next_file is None and padded_end != end:
                next_file = self._find_next_file(end, has_samples=has_samples)
            is_rest_short = rest - declared < _MIN_TRAILING_SECONDS * bytes_per_second
            if next_file is None and (is_rest_short or (declared and self.is_compressed(end))):
                next_file = self.size
            if next_file is not None:
                present = ByteRange(start, end)
                return SampleData(present=present, declared=declared, next_file=next_file)
        present = ByteRange(start, self._find_samples_end(start))
        return SampleData(present=present, declared=None, next_file=self.size)

    def _find_next_file(self, at: int, *, has_samples: bool) -> int | None:
        """Skip the chunks, tags and zeros after the samples, which end at `at`.

        Return the offset of the next file, or the end of this one; None if `at` holds more samples.
        Zeros without samples before them are recorded silence.
        """
        for _ in range(_MAX_CHUNKS):
            head = self.read(at, _HEAD_BYTES)
            if len(head) < self._format.header_bytes or head.startswith(_FOLLOWING_IDS):
                return self.size
            if head[:4] in self._format.file_ids:
                return at
            if not any(head):
                return self.size if has_samples and self._data.is_zero(at) else None
            chunk = self._format.parse(head, at)
            if chunk is None or chunk.start + chunk.size > self.size:
                return None
            at = self._format.next_start(chunk)
        return None

    def is_compressed(self, at: int) -> bool:
        """Return whether the bytes at `at` have the entropy of compressed data."""
        data = self.read(at, _ENTROPY_BYTES)
        shares = [data.count(byte) / len(data) for byte in set(data)] if data else [1.0]
        return -sum(share * math.log2(share) for share in shares) > _COMPRESSED_BITS

    def _find_samples_end(self, start: int) -> int:
        """Return where the sequence of chunks starts that leads to the end of the file.

        Without such chunks, return the end of the file.
        """
        tail_start = max(start, self.size - _TAIL_BYTES)
        data = self.read(tail_start, self.size - tail_start)
        leading = {self.size}
        for match in reversed(list(_CHUNK_ID.finditer(data))):
            offset = match.start()
            chunk = self._format.parse(data[offset : offset + _HEAD_BYTES], tail_start + offset)
            if chunk is not None and not leading.isdisjoint(
                {chunk.start + chunk.size, self._format.next_start(chunk)}
            ):
                leading.add(tail_start + offset)
        return min(leading)

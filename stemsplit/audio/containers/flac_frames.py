"""Runs in the child. Finds the frames of a FLAC file and verifies their checksums.

Every frame has a number, a checksum of its header and one of the whole frame, so every intact
frame can be found and placed at its time (RFC 9639, sections 8 and 9).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stemsplit.audio.containers.tag_blocks import tag_start
from stemsplit.core.audio_info import MAX_FRAMES_PER_BYTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from stemsplit.audio.containers.file_bytes import FileBytes

MAGIC = b"fLaC"
SYNC_CODE = re.compile(rb"\xff[\xf8\xf9]")

_STREAMINFO_BYTES = 34
_LAST_BLOCK_FLAG = 0x80
_MAX_METADATA_BLOCKS = 1_000
_MAX_BLOCK_SIZE = 65_535
"""Samples per frame where STREAMINFO gives no maximum."""

_BATCH_BYTES = 16 << 20
"""Checksums are computed for as many frames at once as fit into this at their maximum size."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """The metadata block STREAMINFO (RFC 9639, section 8.2).

    Attributes:
        min_block_size: samples of the shortest frame.
        sample_rate: in Hz; more than 0.
        samples: declared length in samples per channel; 0 if unknown.
        content: the bytes of the block.
        frames_start: end of all metadata blocks.
    """

    min_block_size: int
    sample_rate: int
    samples: int
    content: bytes
    frames_start: int

    @property
    def max_frame_bytes(self) -> int:
        """Size of the largest possible frame: verbatim samples (RFC 9639, section 9.2)."""
        block_size = int.from_bytes(self.content[2:4], "big") or _MAX_BLOCK_SIZE
        channels = (self.content[12] >> 1 & 7) + 1
        bits = ((self.content[12] & 1) << 4 | self.content[13] >> 4) + 1
        return block_size * channels * ((bits + 8) // 8) + 64 * channels

    def file_header(self, samples: int) -> bytes:
        """Return a file header that declares `samples` samples and no checksum of them."""
        content = bytearray(self.content)
        content[13] = content[13] & 0xF0 | samples >> 32 & 15
        content[14:18] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
        content[18:34] = bytes(16)
        return MAGIC + bytes([_LAST_BLOCK_FLAG, 0, 0, _STREAMINFO_BYTES]) + bytes(content)


class FlacFrame(NamedTuple):
    """The header of a frame (RFC 9639, section 9.1).

    Attributes:
        start: offset of the frame.
        number: the coded number: that of the frame, or of its first sample if block sizes vary.
        has_variable_size: whether block sizes vary within the file.
        samples: per channel.
    """

    start: int
    number: int
    has_variable_size: bool
    samples: int

    def first_sample(self, info: StreamInfo) -> int:
        """Return the number of its first sample."""
        return self.number if self.has_variable_size else self.number * info.min_block_size

    def is_followed_by(self, frame: FlacFrame) -> bool:
        """Return whether `frame` has the next number."""
        return frame.number == self.number + (self.samples if self.has_variable_size else 1)

    def may_precede(self, frame: FlacFrame) -> bool:
        """Return whether the bytes in between can hold the frames that the numbers skip."""
        step = 1 if self.has_variable_size else self.samples
        skipped = (frame.number - self.number) * step
        return 0 < skipped <= (frame.start - self.start) * MAX_FRAMES_PER_BYTE


def read_stream_info(data: FileBytes, at: int) -> StreamInfo | None:
    """Read the metadata of the FLAC file at offset `at`; None if there is no valid file."""
    at += len(MAGIC)
    content: bytes | None = None
    for _ in range(_MAX_METADATA_BLOCKS):
        head = data[at : at + 4]
        if len(head) < 4:  # noqa: PLR2004 - the header of a block
            return None
        is_last, block_type = bool(head[0] & _LAST_BLOCK_FLAG), head[0] & 0x7F
        size = int.from_bytes(head[1:], "big")
        if block_type == 0 and content is None:
            content = data[at + 4 : at + 4 + _STREAMINFO_BYTES]
        at += 4 + size
        if is_last:
            break
    if content is None or len(content) < _STREAMINFO_BYTES:
        return None
    sample_rate = int.from_bytes(content[10:13], "big") >> 4
    samples = (content[13] & 15) << 32 | int.from_bytes(content[14:18], "big")
    min_block_size = int.from_bytes(content[:2], "big")
    return StreamInfo(min_block_size, sample_rate, samples, content, at) if sample_rate else None


def read_frame(data: FileBytes, at: int) -> FlacFrame | None:
    """Read the header of the frame at `at`; None if it is invalid or its checksum is wrong."""
    head = data[at : at + 16]
    if len(head) < 16 or head[3] & 1 or head[2] >> 4 == 0 or head[2] & 15 == 15:  # noqa: PLR2004 - reserved
        return None
    length = _coded_number_bytes(head[4])
    if not length:
        return None
    number = head[4] & (0x7F if length == 1 else 0x7F >> length)
    for byte in head[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    end = 4 + length
    code = head[2] >> 4
    if code in {6, 7}:
        samples = int.from_bytes(head[end : end + code - 5], "big") + 1
        end += code - 5
    else:
        samples = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8  # noqa: PLR2004 - table 14
    end += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if end >= len(head) or _crc8(head[:end]) != head[end]:
        return None
    return FlacFrame(at, number, bool(head[1] & 1), samples)


def frames_in_order(data: FileBytes, info: StreamInfo, end: int) -> list[FlacFrame]:
    """Find the frames up to offset `end`, in the order of their numbers.

    Bytes that only look like a frame are skipped, because their number does not fit.
    """
    found: list[FlacFrame] = []
    candidate: FlacFrame | None = None  # counts only if another frame follows it
    for at, _ in data.finditer(SYNC_CODE, info.frames_start, end):
        frame = read_frame(data, at)
        if frame is None or (found and frame.has_variable_size != found[0].has_variable_size):
            continue
        if found and found[-1].is_followed_by(frame):
            found.append(frame)
            candidate = None
        elif candidate is not None and candidate.is_followed_by(frame):
            found += [candidate, frame]
            candidate = None
        elif not found or found[-1].may_precede(frame):
            candidate = frame
    return found or ([candidate] if candidate is not None else [])


def intact_frame_ends(
    data: FileBytes, frames: Sequence[FlacFrame], end: int, max_bytes: int
) -> list[int]:
    """Return the end of each frame whose checksum is right; 0 for a damaged one.

    Tags may follow the last frame up to `end`. `max_bytes` is the size of the largest possible one.
    """
    while (tag := tag_start(data, end)) is not None:
        end = tag
    ends = [frame.start for frame in frames[1:]] + [end]
    intact = [0] * len(frames)
    batch_size = max(_BATCH_BYTES // max_bytes, 1)
    for first in range(0, len(frames), batch_size):
        batch = range(first, min(first + batch_size, len(frames)))
        contents = [
            data[frames[index].start : min(ends[index], frames[index].start + max_bytes)]
            for index in batch
        ]
        for index, crc in zip(batch, _crc16(contents), strict=True):
            intact[index] = ends[index] if crc == 0 else 0
    return intact


def _coded_number_bytes(first: int) -> int:
    """Return the length of a coded number by its first byte, as in UTF-8; 0 if it is invalid."""
    if first < 0x80:  # noqa: PLR2004 - as in UTF-8
        return 1
    ones = 8 - (~first & 0xFF).bit_length()
    return ones if 2 <= ones <= 7 else 0  # noqa: PLR2004 - likewise


def _crc8(data: bytes) -> int:
    """Compute the checksum of a frame header (polynomial x8 + x2 + x + 1)."""
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def _crc16(contents: Sequence[bytes]) -> NDArray[np.uint16]:
    """Compute the checksums of many frames at once (polynomial x16 + x15 + x2 + 1)."""
    lengths = np.array([len(content) for content in contents])
    order = np.argsort(-lengths, kind="stable")
    columns = np.zeros((int(lengths.max(initial=0)), len(contents)), np.uint8)
    for column, index in enumerate(order):
        columns[: lengths[index], column] = np.frombuffer(contents[index], np.uint8)
    crc = np.zeros(len(contents), np.uint16)
    active = len(contents)
    sorted_lengths = lengths[order]
    for row, values in enumerate(columns):
        while active and sorted_lengths[active - 1] <= row:
            active -= 1
        current = crc[:active]
        crc[:active] = (current << 8) ^ _CRC16[(current >> 8) ^ values[:active]]
    result = np.empty_like(crc)
    result[order] = crc
    return result


def _crc_table(bits: int, polynomial: int) -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << bits - 8
        for _ in range(8):
            crc = crc << 1 ^ (polynomial if crc >> bits - 1 else 0)
            crc &= (1 << bits) - 1
        table.append(crc)
    return table


_CRC8 = _crc_table(8, 0x07)
_CRC16 = np.array(_crc_table(16, 0x8005), np.uint16)

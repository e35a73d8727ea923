"""Runs in the child. Finds the parts of Ogg files: chained streams, and what follows damage.

A page consists of "OggS", version, flags, granule position, serial number, sequence number,
checksum, number of lacing values, the lacing values, whose sum is the size of the body, and the
body (RFC 3533, section 6). Decoders skip a page whose checksum is wrong, so that everything
after it comes too early.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

from stemsplit.audio.containers.parts import ByteRange, Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stemsplit.audio.containers.file_bytes import FileBytes

_CAPTURE_PATTERN = b"OggS"
_HEADER = struct.Struct("<4sBBqIIIB")
_CONTINUED, _BEGIN_OF_STREAM, _END_OF_STREAM = 0x01, 0x02, 0x04
_CHECKSUM = slice(22, 26)
_PRE_SKIP_OFFSET = 10
"""Within `OpusHead` (RFC 7845, section 5.1)."""

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in reverse order."""

_HEADER_PACKETS = {b"\x01vorbis": 3, b"OpusHead": 2}
"""Number of header packets of a stream, by the start of the first one (Vorbis I, section 4.2; RFC
7845, section 3)."""


@dataclass(slots=True, frozen=True)
class _Page:
    start: int
    end: int
    flags: int
    granule_position: int
    serial_number: int
    sequence_number: int
    completed_packets: int


def find_parts(data: FileBytes) -> list[Part]:
    """Find the parts of an Ogg file.

    Returns:
        its parts, in order; the whole file if streams are interleaved, as in a film, or of an
        unknown codec.
    """
    pages = list(_pages(data))
    streams: list[list[_Page]] = []
    for page in pages:
        if page.flags & _BEGIN_OF_STREAM:
            streams.append([])
        if streams:
            streams[-1].append(page)
    can_split = all(
        len({page.serial_number for page in stream}) == 1 and _count_header_pages(data, stream)
        for stream in streams
    )
    if not streams or not can_split:
        last_pages = {page.serial_number: page for page in pages}
        is_cut_off = any(not page.flags & _END_OF_STREAM for page in last_pages.values())
        audio_streams = sum(_is_audio(data, stream[0]) for stream in streams)
        return [Part(is_cut_off=is_cut_off, can_use_libsndfile=audio_streams <= 1)]
    parts = [part for stream in streams for part in _parts_of_stream(data, stream)]
    if len(parts) == 1 and not parts[0].is_start_missing and _are_contiguous(pages):
        return [Part(is_cut_off=parts[0].is_cut_off)]
    return parts


def _are_contiguous(pages: list[_Page]) -> bool:
    """Return whether pages follow each other from the beginning of the file."""
    return pages[0].start == 0 and all(
        page.start == previous.end for previous, page in pairwise(pages)
    )


def _is_audio(data: FileBytes, page: _Page) -> bool:
    """Return whether a stream's first page is that of an audio codec that libsndfile reads."""
    content = data[page.start : page.end]
    return any(codec_id in content for codec_id in (*_HEADER_PACKETS, b"FLAC", b"Speex"))


def _pages(data: FileBytes) -> Iterator[_Page]:
    """Yield all pages whose checksums are right, whatever is between them."""
    at = data.find(_CAPTURE_PATTERN)
    while at >= 0:
        page = _read_page(data, at)
        if page is None:
            at = data.find(_CAPTURE_PATTERN, at + 1)
        else:
            yield page
            at = data.find(_CAPTURE_PATTERN, page.end)


def _read_page(data: FileBytes, at: int) -> _Page | None:
    head = data[at : at + _HEADER.size]
    if len(head) < _HEADER.size:
        return None
    _, version, flags, granule, serial, sequence, checksum, count = _HEADER.unpack(head)
    if version or flags > _CONTINUED | _BEGIN_OF_STREAM | _END_OF_STREAM:
        return None
    lacing = data[at + _HEADER.size : at + _HEADER.size + count]
    end = at + _HEADER.size + len(lacing) + sum(lacing)
    page = bytearray(data[at:end])
    if len(lacing) < count or len(page) < end - at:
        return None
    page[_CHECKSUM] = bytes(4)
    if _crc(page) != checksum:
        return None
    packets = sum(value < 255 for value in lacing)  # noqa: PLR2004 - 255 continues in the next value
    return _Page(at, end, flags, granule, serial, sequence, packets)


def _crc(data: bytes | bytearray) -> int:
    """Compute Ogg's checksum: zlib's CRC-32 with reversed bits, starting at 0, not inverted."""
    reversed_crc = zlib.crc32(data.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reversed_crc.to_bytes(4, "little").translate(_REVERSED_BITS), "big")


def _count_header_pages(data: FileBytes, stream: Sequence[_Page]) -> int:
    """Return how many pages hold the headers of a stream; 0 if some are missing."""
    first = data[stream[0].start : stream[0].end]
    body = first[_HEADER.size + first[_HEADER.size - 1] :]
    required = next(
        (count for start, count in _HEADER_PACKETS.items() if body.startswith(start)), 0
    )
    packets = 0
    for index, page in enumerate(stream):
        packets += page.completed_packets
        if page.sequence_number != index:
            return 0
        if packets >= required > 0:
            return index + 1
    return 0


def _parts_of_stream(data: FileBytes, stream: Sequence[_Page]) -> Iterator[Part]:
    """Split a stream where pages are missing; each part gets the headers of the stream."""
    count = _count_header_pages(data, stream)
    headers = stream[:count]
    granule_rate = _granule_rate(data, stream[0])
    runs: list[list[_Page]] = [[]]
    for previous, page in pairwise(stream[count - 1 :]):
        if page.sequence_number != previous.sequence_number + 1:
            runs.append([])
        runs[-1].append(page)
    runs = [run for run in runs if any(page.completed_packets for page in run)]
    for index, run in enumerate(runs):
        granules = [page.granule_position for page in run if page.granule_position > 0]
        first, *others = [ByteRange(page.start, page.end) for page in (*headers, *run)]
        yield Part(
            pieces=(_without_pre_skip(data, first) if index else first, *others),
            end_timestamp=Fraction(granules[-1], granule_rate) if granules else None,
            is_start_missing=index == 0
            and run[0].sequence_number != headers[-1].sequence_number + 1,
            is_cut_off=index == len(runs) - 1 and not run[-1].flags & _END_OF_STREAM,
            is_file_start=index == 0,
        )


def _without_pre_skip(data: FileBytes, header: ByteRange) -> bytes | ByteRange:
    """Return the header page of a part that starts mid-stream, where Opus must skip nothing."""
    page = bytearray(data[header.start : header.end])
    at = page.find(b"OpusHead")
    if at < 0:
        return header
    at += _PRE_SKIP_OFFSET
    page[at : at + 2] = bytes(2)
    page[_CHECKSUM] = bytes(4)
    page[_CHECKSUM] = _crc(page).to_bytes(4, "little")
    return bytes(page)


def _granule_rate(data: FileBytes, page: _Page) -> int:
    """Return the granules per second: the sample rate of Vorbis, 48 kHz for Opus."""
    at = data.find(b"\x01vorbis", page.start, page.end)
    return 48_000 if at < 0 else max(int.from_bytes(data[at + 12 : at + 16], "little"), 1)

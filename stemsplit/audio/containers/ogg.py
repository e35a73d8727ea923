"""Runs in both. The parts of Ogg files: streams that were chained, and what stands behind damage.

A page is "OggS", version, flags, granule position, serial number, sequence number, checksum, the
number of lacing values, the lacing values, whose sum is the body's size, and the body (RFC 3533,
section 6). A decoder leaves out a page whose checksum is wrong, and all that follows is early.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

from stemsplit.audio.containers.parts import Part, Range

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stemsplit.audio.containers.byte_view import FileBytes

_CAPTURE = b"OggS"
_HEADER = struct.Struct("<4sBBqIIIB")
_CONTINUES, _BEGINS, _ENDS = 0x01, 0x02, 0x04
_CHECKSUM = slice(22, 26)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Every byte with its bits in the other order."""

_HEADERS = {b"\x01vorbis": 3, b"OpusHead": 2}
"""How many packets of headers a stream begins with, by how its first one begins (Vorbis I, section
4.2; RFC 7845, section 3)."""


@dataclass(slots=True, frozen=True)
class _Page:
    first: int
    end: int
    flags: int
    granule: int
    serial: int
    number: int
    packets: int
    """How many packets end on it."""


def survey(data: FileBytes) -> list[Part]:
    """Find the parts of an Ogg file.

    Returns:
        its parts, in order; the whole file where streams are interleaved, as in a film, or of a
        kind that is not known here.
    """
    pages = list(_pages(data))
    streams: list[list[_Page]] = []
    for page in pages:
        if page.flags & _BEGINS:
            streams.append([])
        if streams:
            streams[-1].append(page)
    is_known = all(
        len({page.serial for page in stream}) == 1 and _header_pages(data, stream)
        for stream in streams
    )
    if not streams or not is_known:
        last = {page.serial: page for page in pages}
        is_cut_off = any(not page.flags & _ENDS for page in last.values())
        sounds = sum(_is_sound(data, stream[0]) for stream in streams)
        return [Part(is_cut_off=is_cut_off, is_for_libsndfile=sounds <= 1)]
    parts = [part for stream in streams for part in _parts(data, stream)]
    is_plain = len(parts) == 1 and all(page.first == before.end for before, page in pairwise(pages))
    if is_plain and pages[0].first == 0 and not parts[0].follows_loss:
        return [Part(is_cut_off=parts[0].is_cut_off)]
    return parts


def _is_sound(data: FileBytes, page: _Page) -> bool:
    """Tell whether a stream's first page is that of sound, of the kinds that libsndfile reads."""
    head = data[page.first : page.end]
    return any(one in head for one in (*_HEADERS, b"FLAC", b"Speex"))


def _pages(data: FileBytes) -> Iterator[_Page]:
    """Find all pages whose checksums are right, whatever stands between them."""
    at = data.find(_CAPTURE)
    while at >= 0:
        page = _page(data, at)
        if page is None:
            at = data.find(_CAPTURE, at + 1)
        else:
            yield page
            at = data.find(_CAPTURE, page.end)


def _page(data: FileBytes, at: int) -> _Page | None:
    head = data[at : at + _HEADER.size]
    if len(head) < _HEADER.size:
        return None
    _, version, flags, granule, serial, number, checksum, count = _HEADER.unpack(head)
    if version or flags > _CONTINUES | _BEGINS | _ENDS:
        return None
    lacing = data[at + _HEADER.size : at + _HEADER.size + count]
    end = at + _HEADER.size + len(lacing) + sum(lacing)
    whole = bytearray(data[at:end])
    if len(lacing) < count or len(whole) < end - at:
        return None
    whole[_CHECKSUM] = bytes(4)
    if _crc(whole) != checksum:
        return None
    packets = sum(value < 255 for value in lacing)  # noqa: PLR2004 - 255 goes on in the next value
    return _Page(at, end, flags, granule, serial, number, packets)


def _crc(data: bytes | bytearray) -> int:
    """Compute Ogg's checksum: that of zlib with bits in the other order, from 0, not inverted."""
    inverted = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(inverted.to_bytes(4, "little").translate(_REVERSED), "big")


def _header_pages(data: FileBytes, stream: Sequence[_Page]) -> int:
    """Return how many pages hold the headers of a stream; 0 where they are not all there."""
    first = data[stream[0].first : stream[0].end]
    body = first[_HEADER.size + first[_HEADER.size - 1] :]
    wanted = next((count for start, count in _HEADERS.items() if body.startswith(start)), 0)
    packets = 0
    for number, page in enumerate(stream):
        packets += page.packets
        if page.number != number:
            return 0
        if packets >= wanted > 0:
            return number + 1
    return 0


def _parts(data: FileBytes, stream: Sequence[_Page]) -> Iterator[Part]:
    """Cut a stream where pages are missing; each part gets the headers of the stream."""
    count = _header_pages(data, stream)
    headers, rest = stream[:count], stream[count:]
    rate = _rate(data, stream[0])
    runs: list[list[_Page]] = [[]]
    for before, page in zip(stream[count - 1 :], rest, strict=False):
        if page.number != before.number + 1:
            runs.append([])
        runs[-1].append(page)
    whole = [run for run in runs if any(page.packets for page in run)]
    for number, run in enumerate(whole):
        granules = [page.granule for page in run if page.granule > 0]
        first, *others = [Range(page.first, page.end) for page in (*headers, *run)]
        yield Part(
            pieces=(_without_skip(data, first) if number else first, *others),
            ends_at=Fraction(granules[-1], rate) if granules else None,
            follows_loss=number == 0 and run[0].number != headers[-1].number + 1,
            is_cut_off=number == len(whole) - 1 and not run[-1].flags & _ENDS,
            begins_file=number == 0,
        )


def _without_skip(data: FileBytes, page: Range) -> bytes | Range:
    """Return an Opus header that skips nothing, for a part that begins in the middle."""
    whole = bytearray(data[page.first : page.end])
    at = whole.find(b"OpusHead")
    if at < 0:
        return page
    whole[at + 10 : at + 12] = bytes(2)  # RFC 7845, section 5.1
    whole[_CHECKSUM] = bytes(4)
    whole[_CHECKSUM] = _crc(whole).to_bytes(4, "little")
    return bytes(whole)


def _rate(data: FileBytes, page: _Page) -> int:
    """Return how many granules a second has: Vorbis' sample rate, 48 kHz of Opus."""
    at = data.find(b"\x01vorbis", page.first, page.end)
    return 48_000 if at < 0 else max(int.from_bytes(data[at + 12 : at + 16], "little"), 1)

"""Runs in both. MP3, MP2, AAC in ADTS and AC-3: streams of frames that bear a header each.

Such a stream needs no header of its own, and many have none, or a wrong one. So every frame is
visited. What is no frame is a tag, another file joined to the first, or damage; the length of what
was lost follows from the mean size of frames.

Layouts: ISO/IEC 11172-3 and 13818-3 (MPEG audio), ISO/IEC 13818-7 (ADTS), ETSI TS 102 366 (AC-3),
id3.org (ID3v1, ID3v2.4), the APEv2 and Lyrics3 specifications.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stemsplit.audio.containers.byte_view import FileBytes

_CONFIRMED_FRAMES = 3
"""Frames of one kind in a row that are no accident."""

_WALKED_BYTES = 1 << 17
"""How much is read at once where every frame is visited."""

_FRONT_BYTES = 64
"""More than is looked at of each frame."""

_MOST_LYRICS_BYTES = 1 << 20

_FIRST_FRAME_WITHIN = 8192
"""Bytes that may stand before the first frame of a stream."""


class Kind(NamedTuple):
    """What frames of one stream have in common.

    Attributes:
        demuxer: FFmpeg's name of the stream's container.
        version: of the format: MPEG version and layer, AAC's profile, or AC-3's.
        rate: in Hz.
        channels: as far as a decoder must begin anew where they change.
        samples: of each frame, per channel.
    """

    demuxer: str
    version: int
    rate: int
    channels: int
    samples: int


@dataclass(slots=True)
class Run:
    """Frames of one kind that follow one another without a gap.

    Attributes:
        kind: of all of them.
        first: the first byte.
        end: behind the last one.
        count: of frames.
        junk: bytes before them that are neither frames nor tags.
        mark: where one of `MARKS` stands in the first frame; 0 if none does.
        is_cut_off: whether the file ends within the frame that follows them.
        begins_file: whether they begin a file of their own, which was joined to the one before: a
            tag, a stream of another kind or a header says so.
    """

    kind: Kind
    first: int
    end: int
    count: int = 0
    junk: int = 0
    mark: int = 0
    is_cut_off: bool = False
    begins_file: bool = False


def _tables() -> tuple[dict[tuple[int, int], list[int]], dict[int, list[int]]]:
    """Return MPEG audio's bit rates in kbit/s by (is MPEG-1, layer) and rates in Hz by version."""
    low = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
    bit_rates = {
        (1, 1): [0, *range(32, 449, 32)],
        (1, 2): [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        (1, 3): [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        (0, 1): [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
        (0, 2): low,
        (0, 3): low,
    }
    rates = {3: [44_100, 48_000, 32_000], 2: [22_050, 24_000, 16_000], 0: [11_025, 12_000, 8_000]}
    return bit_rates, rates


_BIT_RATES, _RATES = _tables()


def _mpeg(head: bytes) -> tuple[int, Kind] | None:
    """Read the header of an MPEG audio frame: its size in bytes and its kind; None if it is none.

    Free-format frames, which do not say how large they are, are none.
    """
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bit_rate, rate = head[2] >> 4, head[2] >> 2 & 3
    if head[0] != 0xFF or head[1] < 0xE0 or version == 1 or layer == 4:  # noqa: PLR2004 - the standard's
        return None
    if not 0 < bit_rate < 15 or rate == 3 or head[3] & 3 == 2:  # noqa: PLR2004 - likewise
        return None
    is_mpeg_1 = int(version == 3)  # noqa: PLR2004 - likewise
    hertz = _RATES[version][rate]
    samples = {1: 384, 2: 1152, 3: 1152 if is_mpeg_1 else 576}[layer]
    bits, padding = _BIT_RATES[is_mpeg_1, layer][bit_rate] * 1000, head[2] >> 1 & 1
    if layer == 1:
        size = (12 * bits // hertz + padding) * 4
    else:
        size = samples // 8 * bits // hertz + padding
    channels = 1 if head[3] >> 6 == 3 else 2  # noqa: PLR2004 - likewise
    return size, Kind("mp3", version << 2 | layer, hertz, channels, samples)


_ADTS_RATES = (
    *(96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000),
    *(22_050, 16_000, 12_000, 11_025, 8_000, 7_350),
)


def _adts(head: bytes) -> tuple[int, Kind] | None:
    """Read the header of an ADTS frame, as `_mpeg` does."""
    rate = head[2] >> 2 & 15
    if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or rate >= len(_ADTS_RATES):  # noqa: PLR2004 - likewise
        return None
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    channels = (head[2] & 1) << 2 | head[3] >> 6
    blocks = (head[6] & 3) + 1
    least = 7 if head[1] & 1 else 9
    kind = Kind("aac", head[2] >> 6, _ADTS_RATES[rate], channels, 1024 * blocks)
    return (size, kind) if size > least else None


_AC3_KBITS = (
    *(32, 40, 48, 56, 64, 80, 96, 112, 128, 160),
    *(192, 224, 256, 320, 384, 448, 512, 576, 640),
)
_AC3_MOST_BSID = 10


def _ac3(head: bytes) -> tuple[int, Kind] | None:
    """Read the header of an AC-3 frame, as `_mpeg` does."""
    rate, size = head[4] >> 6, head[4] & 63
    if head[:2] != b"\x0b\x77" or rate == 3 or size >= 2 * len(_AC3_KBITS):  # noqa: PLR2004 - reserved
        return None
    if head[5] >> 3 > _AC3_MOST_BSID:
        return None
    hertz = (48_000, 44_100, 32_000)[rate]
    kbits = _AC3_KBITS[size >> 1]
    words = kbits * 1000 * 1536 // 16 // hertz + (size & 1 if rate == 1 else 0)
    return 2 * words, Kind("ac3", head[5] >> 3, hertz, 0, 1536)


_SYNTAXES: tuple[Callable[[bytes], tuple[int, Kind] | None], ...] = (_mpeg, _adts, _ac3)
_SYNC = re.compile(rb"\xff[\xe2-\xf7\xfa-\xff][\x10-\xef]|\xff[\xf0\xf1\xf8\xf9]|\x0b\x77")
_MOST_SYNCS = 200_000
"""Places behind damage that are looked at; more have no frames among them."""

_HEAD_BYTES = 7


def header(data: FileBytes, at: int) -> tuple[int, Kind] | None:
    """Read a frame's header at `at`: its size in bytes and its kind; None if there is none."""
    head = data[at : at + _HEAD_BYTES]
    if len(head) < _HEAD_BYTES:
        return None
    for read in _SYNTAXES:
        found = read(head)
        if found is not None:
            return found
    return None


def is_stream(data: FileBytes, at: int, kind: Kind | None = None) -> bool:
    """Tell whether frames of one kind follow each other at `at`, so that they are no accident.

    Args:
        data: the file.
        at: the first byte of the first frame.
        kind: of the frames before; of this kind fewer frames are enough at the end of the file.
    """
    seen = kind
    for _ in range(_CONFIRMED_FRAMES):
        found = header(data, at)
        if found is None:
            return kind is not None and at == len(data)
        size, kind_here = found
        if seen is not None and kind_here != seen:
            return False
        at, seen = at + size, kind_here
    return True


def first_frame(data: FileBytes, at: int) -> int | None:
    """Find the first frame of a stream near `at`; None if there is none."""
    found = data.finditer(_SYNC, at, at + _FIRST_FRAME_WITHIN)
    return next((start for start, _ in found if is_stream(data, start)), None)


def tag_end(data: FileBytes, at: int) -> int | None:
    """Return where the tag that begins at `at` ends; None if there is none."""
    head = data[at : at + 32]
    if head[:3] == b"ID3" and len(head) > 10:  # noqa: PLR2004 - the header of ID3v2
        # The size has seven bits a byte (ID3v2.4, section 6.2).
        size = sum(
            (byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
        )
        return at + 10 + size + 10 * (head[5] >> 4 & 1)
    if head[:3] == b"TAG":
        return at + 128
    if head[:8] == b"APETAGEX" and len(head) == 32:  # noqa: PLR2004 - the header of APEv2
        size, is_header = int.from_bytes(head[12:16], "little"), bool(head[23] & 0x20)
        return at + 32 + (size if is_header else 0)
    if head[:11] == b"LYRICSBEGIN":
        ends = [
            data.find(mark, at, at + _MOST_LYRICS_BYTES) for mark in (b"LYRICS200", b"LYRICSEND")
        ]
        return max(ends) + 9 if max(ends) >= 0 else None
    return None


MARKS = frozenset({b"Xing", b"Info", b"VBRI"})
"""How headers begin that the first frame of an MP3 file may hold."""


def mark_offsets(kind: Kind) -> tuple[int, ...]:
    """Return where in a frame a mark may stand: behind the side information of layer III.

    That takes 32, 17 or 9 bytes, by MPEG version and channels, behind a header of four bytes and
    sometimes two of a checksum. VBRI always stands at 36.
    """
    if kind.demuxer != "mp3" or kind.version & 3 != 3:  # noqa: PLR2004 - layer III
        return ()
    is_mpeg_1 = kind.version >> 2 == 3  # noqa: PLR2004 - as the header codes it
    least = 21 - 8 * (kind.channels == 1) if not is_mpeg_1 else 36 - 15 * (kind.channels == 1)
    return tuple(dict.fromkeys((least, least + 2, 36)))


def walk(data: FileBytes, at: int) -> Iterator[Run]:
    """Visit all frames from `at` on, where the first one must be.

    Yields:
        each run of frames, in order.
    """
    found = header(data, at)
    run = None if found is None else Run(found[1], at, at, begins_file=True)
    while run is not None:
        last = _follow(data, run)
        following = _next_run(data, run, last)
        yield run
        run = following


def _follow(data: FileBytes, run: Run) -> int:
    """Add frames to a run as long as they follow one another; return where its last one begins."""
    at = last = run.first
    is_mpeg = run.kind.demuxer == "mp3"
    offsets = mark_offsets(run.kind)
    known: dict[bytes, int] = {}
    block, inside = data[at : at + _WALKED_BYTES], 0
    while True:
        if inside + _FRONT_BYTES > len(block):
            block, inside = data[at : at + _WALKED_BYTES], 0
        head = block[inside : inside + 4]
        size = known.get(head)
        if size is None:
            found = header(data, at)
            if found is None or found[1] != run.kind:
                break
            size = found[0]
            if is_mpeg:  # whose first four bytes tell all
                known[head] = size
        if at + size > len(data):
            run.is_cut_off = True
            break
        for offset in offsets:
            if block[inside + offset : inside + offset + 4] in MARKS:
                if run.count:
                    run.end = at
                    return last
                run.mark = at + offset
        last = at
        at += size
        inside += size
        run.count += 1
    run.end = at
    return last


def _next_run(data: FileBytes, run: Run, last: int) -> Run | None:
    """Find out what follows a run: tags, another file, damage, or nothing."""
    at, begins_file = run.end, False
    if at == len(data):
        return None
    while (end := tag_end(data, at)) is not None and end > at:
        at, begins_file = end, True
    found = header(data, at)
    if found is not None and is_stream(data, at):
        # Of another kind, with a header of its own, or behind a tag: another file.
        return Run(found[1], at, at, begins_file=True)
    # The size of the last frame may have been wrong, so that the next one begins inside of it.
    search = data.finditer(_SYNC, at if begins_file else last + 1)
    for start, _ in islice(search, _MOST_SYNCS):
        found = header(data, start)
        if found is None or not is_stream(data, start, run.kind if found[1] == run.kind else None):
            continue
        if start < run.end:
            run.end, run.count = last, run.count - 1
        begins_file = begins_file or found[1] != run.kind
        before = at if begins_file else run.end
        return Run(found[1], start, start, junk=start - before, begins_file=begins_file)
    return None

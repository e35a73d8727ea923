"""Runs in both. WAV, RF64, Wave64, AIFF, CAF and AU, with headers that fit their samples.

Layouts: IBM and Microsoft, "Multimedia Programming Interface and Data Specifications" 1.0 (RIFF);
EBU Tech 3306 (RF64); Sony Wave64; Apple, "Audio Interchange File Format" 1.3, AIFF-C and "Core
Audio Format" 1.0; Sun, AU.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from stemsplit.audio.containers.chunks import AIFF, CAF, RIFF, RIFX, WAVE64, Chunks
from stemsplit.audio.containers.parts import Part, Range

if TYPE_CHECKING:
    from io import RawIOBase

    from stemsplit.audio.containers.chunks import Chunk, Samples

_UNKNOWN_BYTES = (range(0x7FFF_EF00, 0x8000_0100), range(0xFFFF_FF00, 0x1_0000_0000))
"""Sizes that stand for "unknown" in what is written to a pipe: SoX writes 0x7FFFF000, FFmpeg
2**32 - 1, others 2**31, and some take what stands before the samples off."""

_SEE_DS64 = 0xFFFF_FFFF
_MOST_RIFF_BYTES = 0xFFFF_0000
"""Of samples in a RIFF file; RF64 holds more."""

_FORMAT_BYTES = 16
"""Of the shortest `fmt ` chunk."""

_PCM_TAGS = frozenset({0x0001, 0x0003, 0xFFFE})
"""Integers, floating point, and either of them with a channel mask (`WAVE_FORMAT_EXTENSIBLE`)."""

_LAW_TAGS = frozenset({0x0006, 0x0007})
"""A-law and mu-law."""

_BLOCK_TAGS = frozenset({0x0002, 0x0011, 0x0031})
"""ADPCM of Microsoft and IMA, and GSM 6.10, whose descriptions tell the frames of a block."""

_AU_HEADER_BYTES = 24

_AIFC_SAMPLE_BYTES = {
    **dict.fromkeys((b"ulaw", b"ULAW", b"alaw", b"ALAW"), 1),
    **dict.fromkeys((b"fl32", b"FL32"), 4),
    **dict.fromkeys((b"fl64", b"FL64"), 8),
}
"""Of encodings whose samples do not take as many bits as `COMM` declares."""

_AIFC_PCM = frozenset({b"", b"NONE", b"twos", b"sowt", b"raw ", b"in24", b"in32", b"42ni", b"23ni"})
_AU_SAMPLE_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
"""By the header's number of the encoding."""


class Found(NamedTuple):
    """A chunked file.

    Attributes:
        part: its pieces are ranges of the file that was surveyed.
        samples: their bytes.
        next_file: where another file begins that was joined to it, or else its end.
        is_short: whether the header declares more samples than there are.
    """

    part: Part
    samples: Range
    next_file: int
    is_short: bool = False


def survey(file: RawIOBase, size: int) -> Found | None:  # noqa: PLR0911 - one for each format
    """Find the samples of a chunked file.

    Args:
        file: open for reading; the header stands at its beginning.
        size: of the file, in bytes.

    Returns:
        what was found; None if it is no chunked file, or its chunks lead nowhere.
    """
    file.seek(0)
    head = file.read(24) or b""
    try:
        if head[:4] in RIFF.files and head[8:12] == b"WAVE":
            return _wave(Chunks(file, size, RIFF), "<", 12)
        if head[:4] in RIFX.files and head[8:12] == b"WAVE":
            return _wave(Chunks(file, size, RIFX), ">", 12)
        if head.startswith(b"riff\x2e\x91\xcf\x11"):
            return _wave(Chunks(file, size, WAVE64), "<", 40)
        if head[:4] in AIFF.files and head[8:12] in {b"AIFF", b"AIFC"}:
            return _aiff(Chunks(file, size, AIFF), head[8:12])
        if head.startswith(b"caff"):
            return _caf(Chunks(file, size, CAF))
        if head.startswith((b".snd", b"dns.")):
            return _au(Chunks(file, size, AIFF), head)
    except (struct.error, OverflowError):
        return None
    return None


def _part(
    samples: Samples,
    corrected: tuple[Range | bytes, ...],
    bytes_a_second: float,
    *,
    size: int,
    is_consistent: bool = True,
) -> Found:
    """Describe a part: the whole file where its header is right, else the corrected pieces."""
    is_right = is_consistent and samples.are_as_declared and samples.next_file == size
    # Of what is compressed nobody can tell how long the missing bytes would be.
    is_short = (samples.declared or 0) > len(samples.there)
    seconds = None
    if samples.declared and bytes_a_second > 0:
        seconds = samples.declared / bytes_a_second
    part = Part(
        pieces=None if is_right else corrected,
        spare=corrected if is_right else None,
        declared_seconds=seconds,
        is_cut_off=is_short and bytes_a_second <= 0,
    )
    return Found(part, samples.there, samples.next_file, is_short=is_short)


def _find(chunks: Chunks, first: int, names: frozenset[bytes]) -> dict[bytes, Chunk]:
    """Walk until the first chunk of each name is found, or to the end."""
    found: dict[bytes, Chunk] = {}
    for chunk in chunks.walk(first):
        found.setdefault(chunk.name, chunk)
        if names <= found.keys():
            break
    return found


def _wave(chunks: Chunks, order: str, first: int) -> Found | None:
    found = _find(chunks, first, frozenset({b"data", b"fmt "}))
    if not {b"data", b"fmt "} <= found.keys():
        return None
    form, data = found[b"fmt "], found[b"data"]
    description = chunks.read(form.first, min(form.size, 1 << 16))
    tag, _, _, _, align = struct.unpack_from(order + "HHIIH", description)
    bytes_a_second = _bytes_a_second(order, description)
    declared: int | None = data.size
    if b"ds64" in found and data.size == _SEE_DS64:
        (declared,) = struct.unpack_from("<8xQ", chunks.read(found[b"ds64"].first, 16))
    elif _is_unknown(data.size, chunks.size - data.first):
        declared = None
    samples = chunks.samples(data.first, declared, bytes_a_second)
    body = struct.pack(f"{order}4sI", b"fmt ", len(description)) + description
    body += bytes(len(description) % 2)
    if b"fact" in found and tag not in _PCM_TAGS:  # the count of samples of what is compressed
        fact = chunks.read(found[b"fact"].first, 4)
        body += struct.pack(f"{order}4sI", b"fact", len(fact)) + fact
    header = _wave_header(order, body, len(samples.there), align)
    return _part(samples, (header, samples.there), bytes_a_second, size=chunks.size)


def _bytes_a_second(order: str, description: bytes) -> float:
    """Return how many bytes a second takes by a `fmt ` chunk; 0 where that does not tell."""
    tag, channels, rate, _, align, bits = struct.unpack_from(order + "HHIIHH", description)
    if tag in _PCM_TAGS:
        return float(rate * channels * ((bits + 7) // 8) or rate * align)
    if tag in _LAW_TAGS:
        return float(rate * channels)
    if tag in _BLOCK_TAGS and len(description) >= _FORMAT_BYTES + 4:
        (block_frames,) = struct.unpack_from(order + "H", description, _FORMAT_BYTES + 2)
        return rate * align / block_frames if block_frames else 0.0
    return 0.0


def _is_unknown(declared: int, there: int) -> bool:
    """Tell whether a size stands for "unknown"."""
    return declared > there and any(declared in sizes for sizes in _UNKNOWN_BYTES)


def _wave_header(order: str, body: bytes, count: int, align: int) -> bytes:
    """Write a header for `count` bytes of samples; RF64 where RIFF cannot hold as many."""
    if count <= _MOST_RIFF_BYTES or order == ">":
        count = min(count, _MOST_RIFF_BYTES)
        name = b"RIFX" if order == ">" else b"RIFF"
        size = len(b"WAVE") + len(body) + 8 + count
        head = struct.pack(f"{order}4sI4s", name, size, b"WAVE")
        return head + body + struct.pack(f"{order}4sI", b"data", count)
    long_sizes = struct.pack("<QQQI", 4 + 36 + len(body) + 8 + count, count, count // align, 0)
    head = struct.pack("<4sI4s4sI", b"RF64", _SEE_DS64, b"WAVE", b"ds64", len(long_sizes))
    return head + long_sizes + body + struct.pack("<4sI", b"data", _SEE_DS64)


def _aiff(chunks: Chunks, kind: bytes) -> Found | None:
    found = _find(chunks, 12, frozenset({b"COMM", b"SSND"}))
    if not {b"COMM", b"SSND"} <= found.keys():
        return None
    common, data = found[b"COMM"], found[b"SSND"]
    description = chunks.read(common.first, min(common.size, 1 << 12))
    channels, frames, bits = struct.unpack_from(">HIH", description)
    encoding = description[18:22] if kind == b"AIFC" else b""
    sample_bytes = _AIFC_SAMPLE_BYTES.get(encoding, (bits + 7) // 8)
    if encoding not in _AIFC_PCM | _AIFC_SAMPLE_BYTES.keys() or not channels * sample_bytes:
        # Of packets, whose count alone tells the length.
        return Found(Part(), Range(data.first, chunks.size), chunks.size)
    frame_bytes = channels * sample_bytes
    bytes_a_second = _extended(description[8:18]) * frame_bytes
    (offset,) = struct.unpack(">I", chunks.read(data.first, 4))
    first = min(data.first + 8 + offset, chunks.size)
    declared = None if _is_unknown(data.size, chunks.size - first) else data.size - 8 - offset
    declared = None if declared is not None and declared < 0 else declared
    samples = chunks.samples(first, declared, bytes_a_second)
    count = min(len(samples.there), _MOST_RIFF_BYTES)
    corrected = description[:2] + struct.pack(">I", count // frame_bytes) + description[6:]
    corrected += bytes(len(corrected) % 2)
    body = struct.pack(">4sI", b"COMM", len(description)) + corrected
    body += struct.pack(">4sIII", b"SSND", count + 8, 0, 0)
    header = struct.pack(">4sI4s", b"FORM", 4 + len(body) + count, kind) + body
    found_part = _part(
        samples,
        (header, samples.there),
        bytes_a_second,
        size=chunks.size,
        is_consistent=frames == len(samples.there) // frame_bytes,
    )
    if bytes_a_second > 0 and not _is_unknown(frames * frame_bytes, len(samples.there)):
        counted, part = frames * frame_bytes / bytes_a_second, found_part.part
        part = replace(part, declared_seconds=max(part.declared_seconds or 0.0, counted))
        return found_part._replace(part=part)
    return found_part


def _extended(number: bytes) -> float:
    """Read an 80-bit floating-point number (IEEE 754 extended), as `COMM` has the sample rate."""
    exponent, mantissa = struct.unpack(">HQ", number)
    return float(mantissa * 2.0 ** ((exponent & 0x7FFF) - 16_383 - 63))


def _caf(chunks: Chunks) -> Found | None:
    found = _find(chunks, 8, frozenset({b"desc", b"data"}))
    if not {b"desc", b"data"} <= found.keys():
        return None
    rate, packet_bytes, packet_frames = struct.unpack(
        ">d8xII", chunks.read(found[b"desc"].first, 24)
    )
    bytes_a_second = rate * packet_bytes / packet_frames if packet_frames else 0.0
    edits, data = 4, found[b"data"]  # bytes of an edit count stand before the samples
    declared = data.size - edits if data.size >= edits else None
    samples = chunks.samples(data.first + edits, declared, bytes_a_second)
    size = struct.pack(">q", len(samples.there) + edits)
    corrected = (
        Range(0, data.first - len(size)),
        size,
        Range(data.first, samples.there.end),
        Range(samples.there.end, chunks.size),
    )
    return _part(samples, corrected, bytes_a_second, size=chunks.size)


def _au(chunks: Chunks, head: bytes) -> Found | None:
    size = chunks.size
    order = ">" if head.startswith(b".snd") else "<"
    first, declared, encoding, rate, channels = struct.unpack_from(order + "5I", head, 4)
    if first > size:
        return None
    first = max(first, _AU_HEADER_BYTES)
    bytes_a_second = float(rate * channels * _AU_SAMPLE_BYTES.get(encoding, 0))
    there = Range(first, size)
    if declared < len(there) and chunks.is_noise(first + declared):
        there = Range(first, first + declared)
    is_known = not _is_unknown(declared, len(there))
    seconds = declared / bytes_a_second if is_known and declared and bytes_a_second else None
    if declared == len(there):
        return Found(Part(declared_seconds=seconds), there, size)
    unknown = struct.pack(order + "I", 0xFFFF_FFFF)
    pieces = (Range(0, 8), unknown, Range(12, first), there)
    return Found(Part(pieces=pieces, declared_seconds=seconds), there, size)

"""Runs in the child. Finds the samples of WAV, RF64, Wave64, AIFF, CAF and AU files.

A header that does not match the samples is replaced. Layouts: IBM and Microsoft, "Multimedia
Programming Interface and Data Specifications" 1.0 (RIFF); EBU Tech 3306 (RF64); Sony Wave64; Apple,
"Audio Interchange File Format" 1.3, AIFF-C and "Core Audio Format" 1.0; Sun, AU.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from stemsplit.audio.containers.chunks import AIFF, CAF, RIFF, RIFX, WAVE64, ChunkReader
from stemsplit.audio.containers.parts import ByteRange, Part

if TYPE_CHECKING:
    from stemsplit.audio.containers.chunks import Chunk, SampleData
    from stemsplit.audio.containers.file_bytes import FileBytes

_UNKNOWN_SIZES = (range(0x7FFF_EF00, 0x8000_0100), range(0xFFFF_FF00, 0x1_0000_0000))
"""Sizes that mean "unknown" in files written to a pipe. SoX writes 0x7FFFF000, FFmpeg 2**32 - 1,
others 2**31, and some subtract the bytes before the samples."""

_SEE_DS64 = 0xFFFF_FFFF
_MAX_RIFF_BYTES = 0xFFFF_0000
"""Limit for the samples of a RIFF file; RF64 holds more."""

_MIN_FORMAT_BYTES = 16
"""Length of the shortest `fmt ` chunk."""

_PCM_TAGS = frozenset({0x0001, 0x0003, 0xFFFE})
"""Integers, floating point, and either of them with a channel mask (`WAVE_FORMAT_EXTENSIBLE`)."""

_LAW_TAGS = frozenset({0x0006, 0x0007})
"""A-law and mu-law."""

_BLOCK_TAGS = frozenset({0x0002, 0x0011, 0x0031})
"""Microsoft and IMA ADPCM, and GSM 6.10, whose `fmt ` chunks give the number of frames per
block."""

_AU_HEADER_BYTES = 24

_AIFC_SAMPLE_BYTES = {
    **dict.fromkeys((b"ulaw", b"ULAW", b"alaw", b"ALAW"), 1),
    **dict.fromkeys((b"fl32", b"FL32"), 4),
    **dict.fromkeys((b"fl64", b"FL64"), 8),
}
"""Bytes per sample of encodings for which `COMM` declares another number of bits."""

_AIFC_PCM = frozenset({b"", b"NONE", b"twos", b"sowt", b"raw ", b"in24", b"in32", b"42ni", b"23ni"})
_AU_SAMPLE_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
"""Bytes per sample by the encoding number in the header."""


class PcmFile(NamedTuple):
    """A chunked file, to which others may have been joined.

    Attributes:
        part: its pieces are relative to the start of the file.
        samples: bytes of the samples.
        next_file: offset of another file that was joined to it, or else its end.
        is_cut_off: whether the header declares more samples than there are.
    """

    part: Part
    samples: ByteRange
    next_file: int
    is_cut_off: bool = False


def read_pcm_file(data: FileBytes) -> PcmFile | None:  # noqa: PLR0911 - one for each format
    """Find the samples of a chunked file, or of the first one of several that were joined.

    Returns:
        None if it is not a chunked file or lacks a required chunk.
    """
    head = data[0:24]
    try:
        if head[:4] in RIFF.file_ids and head[8:12] == b"WAVE":
            return _read_wave(ChunkReader(data, RIFF), "<", 12)
        if head[:4] in RIFX.file_ids and head[8:12] == b"WAVE":
            return _read_wave(ChunkReader(data, RIFX), ">", 12)
        if head.startswith(b"riff\x2e\x91\xcf\x11"):
            return _read_wave(ChunkReader(data, WAVE64), "<", 40)
        if head[:4] in AIFF.file_ids and head[8:12] in {b"AIFF", b"AIFC"}:
            return _read_aiff(ChunkReader(data, AIFF), head[8:12])
        if head.startswith(b"caff"):
            return _read_caf(ChunkReader(data, CAF))
        if head.startswith((b".snd", b"dns.")):
            return _read_au(ChunkReader(data, AIFF), head)
    except (struct.error, OverflowError):
        return None
    return None


def _pcm_file(
    samples: SampleData,
    corrected: tuple[ByteRange | bytes, ...],
    bytes_per_second: float,
    *,
    size: int,
    is_consistent: bool = True,
) -> PcmFile:
    """Return a file whose part is the whole file if its header is right, else `corrected`."""
    is_right = is_consistent and samples.is_as_declared and samples.next_file == size
    is_cut_off = (samples.declared or 0) > len(samples.present)
    seconds = None
    if samples.declared and bytes_per_second > 0:
        seconds = samples.declared / bytes_per_second
    part = Part(
        pieces=None if is_right else corrected,
        fallback_pieces=corrected if is_right else None,
        declared_seconds=seconds,
        # The duration of missing compressed bytes is unknown.
        is_cut_off=is_cut_off and bytes_per_second <= 0,
    )
    return PcmFile(part, samples.present, samples.next_file, is_cut_off=is_cut_off)


def _find_chunks(chunks: ChunkReader, start: int, *required: bytes) -> dict[bytes, Chunk] | None:
    """Return the chunks up to the last required one by their IDs; None if one is missing."""
    found: dict[bytes, Chunk] = {}
    for chunk in chunks.walk(start):
        found.setdefault(chunk.id, chunk)
        if found.keys() >= set(required):
            return found
    return None


def _read_wave(chunks: ChunkReader, order: str, start: int) -> PcmFile | None:
    found = _find_chunks(chunks, start, b"data", b"fmt ")
    if found is None:
        return None
    fmt, data = found[b"fmt "], found[b"data"]
    description = chunks.read(fmt.start, min(fmt.size, 1 << 16))
    tag, _, _, _, block_align = struct.unpack_from(order + "HHIIH", description)
    bytes_per_second = _wave_bytes_per_second(order, description)
    declared: int | None = data.size
    if b"ds64" in found and data.size == _SEE_DS64:
        (declared,) = struct.unpack_from("<8xQ", chunks.read(found[b"ds64"].start, 16))
    elif _is_unknown(data.size, chunks.size - data.start):
        declared = None
    samples = chunks.sample_data(data.start, declared, bytes_per_second)
    body = struct.pack(f"{order}4sI", b"fmt ", len(description)) + description
    body += bytes(len(description) % 2)
    if b"fact" in found and tag not in _PCM_TAGS:  # the sample count of a compressed encoding
        fact = chunks.read(found[b"fact"].start, 4)
        body += struct.pack(f"{order}4sI", b"fact", len(fact)) + fact
    header = _wave_header(order, body, len(samples.present), block_align)
    return _pcm_file(samples, (header, samples.present), bytes_per_second, size=chunks.size)


def _wave_bytes_per_second(order: str, description: bytes) -> float:
    """Return the bytes per second by the content of a `fmt ` chunk; 0 if unknown."""
    tag, channels, rate, _, align, bits = struct.unpack_from(order + "HHIIHH", description)
    if tag in _PCM_TAGS:
        return float(rate * channels * ((bits + 7) // 8) or rate * align)
    if tag in _LAW_TAGS:
        return float(rate * channels)
    if tag in _BLOCK_TAGS and len(description) >= _MIN_FORMAT_BYTES + 4:
        (block_frames,) = struct.unpack_from(order + "H", description, _MIN_FORMAT_BYTES + 2)
        return rate * align / block_frames if block_frames else 0.0
    return 0.0


def _is_unknown(declared: int, present: int) -> bool:
    """Return whether a declared size means "unknown"."""
    return declared > present and any(declared in sizes for sizes in _UNKNOWN_SIZES)


def _wave_header(order: str, body: bytes, sample_bytes: int, block_align: int) -> bytes:
    """Return a RIFF header for `sample_bytes` bytes of samples; RF64 if RIFF cannot hold them."""
    if sample_bytes <= _MAX_RIFF_BYTES or order == ">":
        count = min(sample_bytes, _MAX_RIFF_BYTES)
        riff = b"RIFX" if order == ">" else b"RIFF"
        size = len(b"WAVE") + len(body) + 8 + count
        head = struct.pack(f"{order}4sI4s", riff, size, b"WAVE")
        return head + body + struct.pack(f"{order}4sI", b"data", count)
    riff_size = 4 + 36 + len(body) + 8 + sample_bytes
    ds64 = struct.pack("<QQQI", riff_size, sample_bytes, sample_bytes // block_align, 0)
    head = struct.pack("<4sI4s4sI", b"RF64", _SEE_DS64, b"WAVE", b"ds64", len(ds64))
    return head + ds64 + body + struct.pack("<4sI", b"data", _SEE_DS64)


def _read_aiff(chunks: ChunkReader, form_type: bytes) -> PcmFile | None:
    found = _find_chunks(chunks, 12, b"COMM", b"SSND")
    if found is None:
        return None
    common, data = found[b"COMM"], found[b"SSND"]
    description = chunks.read(common.start, min(common.size, 1 << 12))
    channels, frames, bits = struct.unpack_from(">HIH", description)
    encoding = description[18:22] if form_type == b"AIFC" else b""
    sample_bytes = _AIFC_SAMPLE_BYTES.get(encoding, (bits + 7) // 8)
    if encoding not in _AIFC_PCM | _AIFC_SAMPLE_BYTES.keys() or not channels * sample_bytes:
        # The encoding has packets; only their number gives the duration.
        return PcmFile(Part(), ByteRange(data.start, chunks.size), chunks.size)
    frame_bytes = channels * sample_bytes
    bytes_per_second = _parse_extended(description[8:18]) * frame_bytes
    (offset,) = struct.unpack(">I", chunks.read(data.start, 4))
    start = min(data.start + 8 + offset, chunks.size)
    declared: int | None = data.size - 8 - offset
    if _is_unknown(data.size, chunks.size - start) or data.size < 8 + offset:
        declared = None
    samples = chunks.sample_data(start, declared, bytes_per_second)
    count = min(len(samples.present), _MAX_RIFF_BYTES)
    corrected = description[:2] + struct.pack(">I", count // frame_bytes) + description[6:]
    corrected += bytes(len(corrected) % 2)
    body = struct.pack(">4sI", b"COMM", len(description)) + corrected
    body += struct.pack(">4sIII", b"SSND", count + 8, 0, 0)
    header = struct.pack(">4sI4s", b"FORM", 4 + len(body) + count, form_type) + body
    pcm_file = _pcm_file(
        samples,
        (header, samples.present),
        bytes_per_second,
        size=chunks.size,
        is_consistent=frames == len(samples.present) // frame_bytes,
    )
    if bytes_per_second > 0 and not _is_unknown(frames * frame_bytes, len(samples.present)):
        by_frames, part = frames * frame_bytes / bytes_per_second, pcm_file.part
        part = replace(part, declared_seconds=max(part.declared_seconds or 0.0, by_frames))
        return pcm_file._replace(part=part)
    return pcm_file


def _parse_extended(number: bytes) -> float:
    """Parse an 80-bit floating-point number (IEEE 754 extended), the sample rate in `COMM`."""
    exponent, mantissa = struct.unpack(">HQ", number)
    return float(mantissa * 2.0 ** ((exponent & 0x7FFF) - 16_383 - 63))


def _read_caf(chunks: ChunkReader) -> PcmFile | None:
    found = _find_chunks(chunks, 8, b"desc", b"data")
    if found is None:
        return None
    rate, packet_bytes, packet_frames = struct.unpack(
        ">d8xII", chunks.read(found[b"desc"].start, 24)
    )
    bytes_per_second = rate * packet_bytes / packet_frames if packet_frames else 0.0
    edit_count_bytes, data = 4, found[b"data"]  # the edit count precedes the samples
    declared = data.size - edit_count_bytes if data.size >= edit_count_bytes else None
    samples = chunks.sample_data(data.start + edit_count_bytes, declared, bytes_per_second)
    size = struct.pack(">q", len(samples.present) + edit_count_bytes)
    corrected = (
        ByteRange(0, data.start - len(size)),
        size,
        ByteRange(data.start, samples.present.end),
        ByteRange(samples.present.end, chunks.size),
    )
    return _pcm_file(samples, corrected, bytes_per_second, size=chunks.size)


def _read_au(chunks: ChunkReader, head: bytes) -> PcmFile | None:
    size = chunks.size
    order = ">" if head.startswith(b".snd") else "<"
    start, declared, encoding, rate, channels = struct.unpack_from(order + "5I", head, 4)
    if start > size:
        return None
    start = max(start, _AU_HEADER_BYTES)
    bytes_per_second = float(rate * channels * _AU_SAMPLE_BYTES.get(encoding, 0))
    present = ByteRange(start, size)
    if declared < len(present) and chunks.is_compressed(start + declared):
        present = ByteRange(start, start + declared)
    is_known = not _is_unknown(declared, len(present))
    seconds = declared / bytes_per_second if is_known and declared and bytes_per_second else None
    if declared == len(present):
        return PcmFile(Part(declared_seconds=seconds), present, size)
    unknown = struct.pack(order + "I", 0xFFFF_FFFF)
    pieces = (ByteRange(0, 8), unknown, ByteRange(12, start), present)
    return PcmFile(Part(pieces=pieces, declared_seconds=seconds), present, size)

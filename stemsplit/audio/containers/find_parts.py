"""Runs in the child. Finds the parts of any file, by its first bytes and regardless of its name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from stemsplit.audio.containers import declared_duration, flac, mp3, ogg
from stemsplit.audio.containers.file_bytes import FileBytes
from stemsplit.audio.containers.flac_frames import MAGIC as FLAC_MAGIC
from stemsplit.audio.containers.mislabelled_pcm import demuxer_of
from stemsplit.audio.containers.parts import ByteRange, Part, PartFile
from stemsplit.audio.containers.pcm import read_pcm_file
from stemsplit.audio.containers.tag_blocks import tag_end
from stemsplit.audio.tagging.tag_key_search import ASF_HEADER

if TYPE_CHECKING:
    from pathlib import Path

_CHUNKED = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"FORM", b"caff", b".snd", b"dns.")
_UNCHECKED = (b"\x1a\x45\xdf\xa3", b"wvpk", b"MAC ", b"TTA1", b"FLV")
"""First bytes of containers that are neither checked here nor streams of frames."""

_MP4_BOX_TYPES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"})
_TRANSPORT_PACKET_BYTES = (188, 192, 204)
_MAX_FILES = 10_000
_MAX_JUNK_BYTES = 1 << 16
"""Bytes that may precede a FLAC or Ogg file."""


def find_parts(path: Path, *, thorough: bool = False) -> list[Part]:
    """Find the parts of a file.

    Args:
        path: the file, which is not empty.
        thorough: check the whole file, for one whose decoder stopped early although its structure
            looked right.

    Returns:
        its parts, in order, at least one. The whole file is the only part if it is intact or in a
        container that is not checked.

    Raises:
        OSError: if the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        data = FileBytes(file)
        start = 0
        while data[start : start + 3] == b"ID3" and (end := tag_end(data, start)) is not None:
            start = end
        head = data[start : start + 12]
        parts: list[Part] = []
        if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
            parts = declared_duration.find_parts(data)
        elif head.startswith(_CHUNKED):
            parts = _find_chunked(path, start, len(data))
        elif head.startswith(FLAC_MAGIC):
            parts = flac.find_parts(data, start, thorough=thorough)
        elif head.startswith(b"OggS"):
            parts = ogg.find_parts(data)
        elif head.startswith((ASF_HEADER, b"DSD ")):
            parts = declared_duration.find_parts(data)
        elif not (
            head.startswith(_UNCHECKED)
            or head[4:8] in _MP4_BOX_TYPES
            or _is_mpeg_program_or_transport_stream(data)
        ):
            parts = mp3.find_parts(data, start) or _find_after_junk(data, start)
    return parts or [Part()]


def _is_mpeg_program_or_transport_stream(data: FileBytes) -> bool:
    """Return whether other data may separate the audio frames of a file, as in a film."""
    if data[0:4] in {b"\0\0\1\xba", b"\0\0\1\xb3"}:
        return True
    return any(data[0:1] == data[size : size + 1] == b"G" for size in _TRANSPORT_PACKET_BYTES)


def _find_after_junk(data: FileBytes, start: int) -> list[Part]:
    """Find the parts of a FLAC or Ogg file that other bytes precede."""
    if data.find(b"OggS", start, start + _MAX_JUNK_BYTES) >= 0:
        return ogg.find_parts(data)
    at = data.find(FLAC_MAGIC, start, start + _MAX_JUNK_BYTES)
    return flac.find_parts(data, at) if at >= 0 else []


def _find_chunked(path: Path, start: int, size: int) -> list[Part]:
    """Find the parts of a chunked file and of those that were joined to it."""
    parts: list[Part] = []
    while start < size and len(parts) < _MAX_FILES:
        with PartFile(path, (ByteRange(start, size),)) as file:
            data = FileBytes(file)
            found = read_pcm_file(data)
            if found is None:
                break
            part, samples = found.part, found.samples
            demuxer = demuxer_of(data, samples.start, samples.end)
        if demuxer:
            part = Part(
                pieces=(samples,),
                demuxer=demuxer,
                can_use_libsndfile=False,
                is_cut_off=found.is_cut_off,
                fallback_part=part,
            )
        parts.append(_shifted(part, start, size) if start else part)
        start += found.next_file
    return parts


def _shifted(part: Part, by: int, size: int) -> Part:
    """Return a part with its ranges moved by `by` bytes, in a file of `size` bytes."""
    pieces: tuple[ByteRange | bytes, ...] = tuple(
        ByteRange(piece.start + by, piece.end + by) if isinstance(piece, ByteRange) else piece
        for piece in part.pieces or (ByteRange(0, size - by),)
    )
    fallback = None if part.fallback_part is None else _shifted(part.fallback_part, by, size)
    return replace(part, pieces=pieces, fallback_pieces=None, fallback_part=fallback)

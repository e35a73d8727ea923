"""Runs in both. Any file to its parts, by its first bytes and whatever it is called."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from stemsplit.audio.containers import declared_duration, flac, mislabelled_pcm, mpeg, ogg, pcm
from stemsplit.audio.containers.byte_view import FileBytes
from stemsplit.audio.containers.frames import tag_end
from stemsplit.audio.containers.parts import Part, PartFile, Range

if TYPE_CHECKING:
    from pathlib import Path

_CHUNKED = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"FORM", b"caff", b".snd", b"dns.")
_OTHERS = (b"\x1a\x45\xdf\xa3", b"wvpk", b"MAC ", b"TTA1", b"FLV")
"""How files begin that are neither a stream of frames nor surveyed here."""

_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"})
_MOST_FILES = 10_000
_JUNK_BYTES = 1 << 16
"""How much may stand before a file that is not recognised by its first bytes."""


def survey(path: Path, *, thorough: bool = False) -> list[Part]:
    """Find the parts of a file.

    Args:
        path: the file, which is not empty.
        thorough: whether to look at all of a file whose decoder gave up although its structure
            looked right.

    Returns:
        its parts, in order, at least one. The whole file is the only part where it is healthy, or
        of a kind that tells nothing.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        data = FileBytes(file)
        base = 0
        while data[base : base + 3] == b"ID3" and (end := tag_end(data, base)) is not None:
            base = end
        head = data[base : base + 12]
        parts: list[Part] = []
        if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
            parts = declared_duration.survey(data)
        elif head.startswith(_CHUNKED):
            parts = _chunked(path, base, len(data))
        elif head.startswith(flac.MAGIC):
            parts = flac.survey(data, base, thorough=thorough)
        elif head.startswith(b"OggS"):
            parts = ogg.survey(data)
        elif head.startswith((declared_duration.ASF, b"DSD ")):
            parts = declared_duration.survey(data)
        elif not head.startswith(_OTHERS) and head[4:8] not in _BOXES and not _is_mpeg(data):
            parts = mpeg.survey(data, base) or _behind_junk(data, base)
    return parts or [Part()]


def _is_mpeg(data: FileBytes) -> bool:
    """Tell whether a file is an MPEG film, whose frames of sound stand between others."""
    if data[0:4] in {b"\0\0\1\xba", b"\0\0\1\xb3"}:
        return True
    return any(data[0:1] == data[step : step + 1] == b"G" for step in (188, 192, 204))


def _behind_junk(data: FileBytes, base: int) -> list[Part]:
    """Survey a file that does not begin at its beginning."""
    if data.find(b"OggS", base, base + _JUNK_BYTES) >= 0:
        return ogg.survey(data)
    at = data.find(flac.MAGIC, base, base + _JUNK_BYTES)
    return flac.survey(data, at) if at >= 0 else []


def _chunked(path: Path, base: int, size: int) -> list[Part]:
    """Survey a chunked file, and those that were joined to it."""
    parts: list[Part] = []
    while base < size and len(parts) < _MOST_FILES:
        with PartFile(path, (Range(base, size),)) as file:
            found = pcm.survey(file, size - base)
            if found is None:
                break
            part, there = found.part, found.samples
            demuxer = mislabelled_pcm.demuxer_of(file, there.first, there.end)
        if demuxer:
            part = Part(
                pieces=(there,),
                demuxer=demuxer,
                is_for_libsndfile=False,
                is_cut_off=found.is_short,
                otherwise=part,
            )
        parts.append(_moved(part, base, size) if base else part)
        base += found.next_file
    return parts


def _moved(part: Part, by: int, size: int) -> Part:
    """Return a part whose ranges are those of the whole file."""
    moved: tuple[Range | bytes, ...] = tuple(
        Range(piece.first + by, piece.end + by) if isinstance(piece, Range) else piece
        for piece in part.pieces or (Range(0, size - by),)
    )
    otherwise = None if part.otherwise is None else _moved(part.otherwise, by, size)
    return replace(part, pieces=moved, spare=None, otherwise=otherwise)
